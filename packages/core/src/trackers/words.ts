/**
 * A name of the log for people to read: "evalMath" -> "eval math", "train_loss" -> "train loss".
 */
export const words = (name: string): string =>
  name.replace(/_/g, ' ').replace(/(?<=[a-z0-9])[A-Z]/g, (c) => ` ${c.toLowerCase()}`);
