/** What a scenario is: one file in ../scenarios each. */
import type { Figures, Results } from './figures.js';

export interface Column {
  /** The name of the figure in the turns. */
  readonly figure: string;
  readonly title: string;
  readonly digits: number;
}

/** A row of the table of what must hold. */
export interface Must {
  readonly figure: string;
  readonly value: number;
  readonly floor: number;
  readonly aim: number;
  /** Whether more or less of it is better. */
  readonly better: 'more' | 'less';
}

export interface Shape {
  readonly name: string;
  /** Those that take a turn, in the order of their turns. */
  readonly systems: readonly string[];
}

/** A turn that has ended: what it measured, and the cores of its parts. */
export interface Measured {
  readonly figures: Figures;
  readonly cores: Figures;
}

export interface TurnOptions {
  readonly system: string;
  readonly shape: string;
  readonly round: number;
  readonly seconds: number;
}

export interface Run {
  readonly seconds: number;
  readonly rounds: number;
  /** A run that shows that everything works, and measures nothing. */
  readonly quick: boolean;
  /** A number of connections, rows or channels, or a small part of it where the run is a short one. */
  scale(n: number): number;
  /** Tells that a system takes no turns, and how it is installed. */
  leaveOut(system: string, why: string): void;
}

export interface Scenario {
  readonly name: string;
  readonly title: string;
  /** One paragraph for the page: what is measured, and how. */
  readonly about: string;
  /** Of a turn, and the turns of each system in each shape. */
  readonly seconds: number;
  readonly rounds: number;
  readonly shapes: readonly Shape[];
  readonly columns: readonly Column[];
  /** The column that is drawn. */
  readonly chart: string;
  /** Starts what all turns share. */
  open(run: Run): Promise<(turn: TurnOptions) => Promise<Measured>>;
  musts(results: Results): readonly Must[];
}
