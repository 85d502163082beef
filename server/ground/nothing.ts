/** Does nothing: what there is to cancel before anything was started. Shared, because every connection has some of these. */
export const nothing = (): void => {};
