import type { RequestHandler } from 'express';
import helmet from 'helmet';

const SELF = ["'self'"];
const NONE = ["'none'"];

/**
 * What a browser is told about every answer: take it for what it says it is, show it in no frame, and let it load nothing
 * but what the page with the API documentation needs. HSTS is left to whoever ends TLS in front of the gateway: it speaks for the
 * whole domain, and a browser heeds it over TLS alone.
 */
export const securityHeaders: RequestHandler = helmet({
  contentSecurityPolicy: {
    useDefaults: false,
    directives: {
      defaultSrc: NONE,
      scriptSrc: SELF,
      styleSrc: [...SELF, "'unsafe-inline'"],
      imgSrc: [...SELF, 'data:'],
      connectSrc: SELF,
      baseUri: NONE,
      formAction: NONE,
      frameAncestors: NONE,
    },
  },
  xFrameOptions: { action: 'deny' },
  strictTransportSecurity: false,
  // Of browsers and plug-ins that are gone.
  xXssProtection: false,
  xDnsPrefetchControl: false,
  xDownloadOptions: false,
  xPermittedCrossDomainPolicies: false,
  originAgentCluster: false,
});
