export * from './decorators.js';
export * from './extensionPoint.js';
export { definePlugin, PLUGIN_API_VERSION, type Plugin, type PluginContext } from './plugin.js';
export { type PluginRegistries, Registry } from './registry.js';
export * from './tokens.js';
