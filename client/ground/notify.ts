/** As with a DOM event, the failure of one listener is reported, and stops neither the others nor the stream. */
export function call<A extends unknown[]>(listener: ((...event: A) => void) | undefined, ...event: A): void {
  try {
    listener?.(...event);
  } catch (reason) {
    queueMicrotask(() => {
      throw reason;
    });
  }
}
