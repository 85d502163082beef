export function packagedFolders(): string[];
