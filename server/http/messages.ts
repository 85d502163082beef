import { IncomingMessage, ServerResponse } from 'node:http';
import type { Express } from 'express';

/**
 * Makes the classes of the requests and responses of an application: they have its prototypes from the start. Express would set
 * these in each object, and V8 would make hidden classes for each, which an event stream keeps for as long as it is open.
 */
export function messagesOf(app: Express): {
  IncomingMessage: typeof IncomingMessage;
  ServerResponse: typeof ServerResponse<IncomingMessage>;
} {
  class AppRequest extends IncomingMessage {}
  class AppResponse extends ServerResponse<IncomingMessage> {}
  Object.setPrototypeOf(AppRequest.prototype, app.request);
  Object.setPrototypeOf(AppResponse.prototype, app.response);
  app.request = AppRequest.prototype as typeof app.request;
  app.response = AppResponse.prototype as typeof app.response;
  return { IncomingMessage: AppRequest, ServerResponse: AppResponse };
}
