import type { ZodOpenApiComponentsObject, ZodOpenApiObject } from 'zod-openapi';

/** What a gateway with a key lets requests show who they are by. */
export interface Tokens {
  /** The name of the cookie that may hold a token. */
  readonly cookie: string | undefined;
  /** Whether a request without a token is served, too. */
  readonly anonymous: boolean;
}

type SecuritySchemes = NonNullable<ZodOpenApiComponentsObject['securitySchemes']>;

const bearer: SecuritySchemes[string] = {
  type: 'http',
  scheme: 'bearer',
  bearerFormat: 'JWT',
  description: 'A token of the issuer that the gateway trusts.',
};

/** What the document says of tokens: nothing where there is no key, and everybody is let in. */
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
