/**
 * Calls a listener of the application. As with DOM events, an error that it throws is reported as uncaught, and stops
 * neither the other listeners nor the client.
 */
export function notify<A extends unknown[]>(listener: ((...event: A) => void) | undefined, ...event: A): void {
  try {
    listener?.(...event);
  } catch (reason) {
    queueMicrotask(() => {
      throw reason;
    });
  }
}
