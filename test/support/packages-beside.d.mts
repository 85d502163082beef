export interface Place {
  readonly name: string;
  readonly version: string;
  readonly root: string;
  readonly installed: boolean;
}
export function beside(folder: string, name: string, version: string, others?: readonly string[]): Place;
export function installMissing(places: readonly Place[], finish?: (root: string) => void): void;
