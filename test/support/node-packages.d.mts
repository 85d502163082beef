/** The versions of Node.js that are tested besides the one that runs the tests. `program`: null if it is not installed. */
export function packagedNodes(): { readonly version: string; readonly program: string | null }[];
