// Nothing yet: the name is reserved.
export {};
