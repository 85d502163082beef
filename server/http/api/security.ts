import type { ZodOpenApiComponentsObject, ZodOpenApiObject } from 'zod-openapi';

/** How requests authenticate, on a gateway with a key for tokens. */
export interface Tokens {
  /** The name of the cookie that may carry the token. */
  readonly cookie: string | undefined;
  /** Whether requests without a token are served. */
  readonly anonymous: boolean;
}

type SecuritySchemes = NonNullable<ZodOpenApiComponentsObject['securitySchemes']>;

const bearer: SecuritySchemes[string] = {
  type: 'http',
  scheme: 'bearer',
  bearerFormat: 'JWT',
  description: 'A JWT from the issuer that the gateway trusts.',
};

/** The security part of the OpenAPI document. It is empty for a gateway without a key for tokens, which trusts every client. */
export function securityOf(tokens: Tokens | null): Pick<ZodOpenApiObject, 'security' | 'components'> {
  if (tokens === null) return {};
  const { cookie: name, anonymous } = tokens;
  const schemes: SecuritySchemes = { bearer };
  if (name !== undefined) {
    schemes.cookie = { type: 'apiKey', in: 'cookie', name, description: 'The same token in a cookie.' };
  }
  const ways = Object.keys(schemes).map((scheme) => ({ [scheme]: [] }));
  return { security: anonymous ? [...ways, {}] : ways, components: { securitySchemes: schemes } };
}
