// Decorators for the classes of a plugin, so that it needs no dependency on inversify of its own.
export { inject, injectable, multiInject, named, optional } from 'inversify';
export * from './extensionPoint.js';
export { definePlugin, PLUGIN_API_VERSION, type Plugin, type PluginContext } from './plugin.js';
export { type PluginRegistries, Registry } from './registry.js';
export * from './tokens.js';
