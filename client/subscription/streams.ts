/** Types of streams, for applications that know the rows of each. Nothing of this is left at run time. */
import type { Row } from '../protocol/index.js';

/** What a type of streams is: the rows of each by its name. An interface has no index signature, so `S` is checked by its own keys. */
export type StreamTypes<S> = { readonly [N in keyof S]: object };

/** Any name, and rows of which nothing is known. */
export type AnyStreams = Readonly<Record<string, Row>>;

/** Any channel, where the streams are not known. Else no channel: its name must be one of those of `S`. */
export type AnyChannel<S> = string extends keyof S ? string : never;
