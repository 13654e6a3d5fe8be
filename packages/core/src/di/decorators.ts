import * as inversify from 'inversify';

// Decorators for the classes of a plugin, so that it needs no dependency on inversify of its own.

/** Marks a class that the container may build: `@injectable()`. */
export const injectable = inversify.injectable;

/** Asks for a service in a constructor: `@inject(TOKENS.Logger) logger`. */
export const inject = inversify.inject;

/** Asks for every service of a token, as a list. */
export const multiInject = inversify.multiInject;

/** Asks for the service of a token that was provided under a name. */
export const named = inversify.named;

/** Lets a service be missing: its argument is undefined then. */
export const optional = inversify.optional;
