/**
 * Items become tasks by rules: the first rule one of whose words begins a word of the item gives it a chain of agents, each
 * of which waits for the one before. Pure: the same items and rules give the same tasks. Public as `propagate`.
 */
import { orderOf, PlanInvalid } from './graph.js';
import {
  type Item,
  type ItemInput,
  item,
  numberOf,
  type PlannedTask,
  type Rule,
  type RuleInput,
  rule,
  task,
} from './plan.js';

/** The rules of a database whose users have not written their own. They are in the table as well (sql/engine/01-tables.sql). */
export const DEFAULT_RULES: readonly RuleInput[] = [
  { words: ['email', 'send', 'contact', 'outreach'], agents: ['email', 'coordination'], priority: 'high' },
  { words: ['write', 'create', 'generate', 'draft'], agents: ['content', 'analysis'], priority: 'high' },
  { words: ['research', 'analyze', 'study'], agents: ['research', 'analysis'], priority: 'medium' },
  { words: ['schedule', 'calendar', 'meeting'], agents: ['scheduling', 'email'], priority: 'high' },
  { words: ['coordinate', 'align', 'discuss'], agents: ['coordination', 'analysis'], priority: 'medium' },
];

/** What became of a rule for an item: `word` is the one that was found; `lost` says why it was not used all the same. */
export interface RuleOutcome {
  readonly agents: readonly string[];
  readonly priority: Rule['priority'];
  readonly word: string;
  readonly lost: string | null;
}

export interface Propagation {
  readonly propagation_id: string;
  readonly item_ref: string;
  readonly item: Item;
  /** The rules that matched, the one that was used first. Empty if the item names its agents. */
  readonly rules: readonly RuleOutcome[];
}

export interface Propagated {
  readonly tasks: PlannedTask[];
  readonly propagations: Propagation[];
}

/** Letters and digits of any script, in lower case. */
const wordsOf = (text: string): string[] => text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];

/** The first of the words of a rule that begins a word of the text. */
const found = ({ words }: Rule, of: readonly string[]): string | undefined =>
  words.find((word) => of.some((one) => one.startsWith(word.toLowerCase())));

function outcomesOf({ text, agents }: Item, rules: readonly Rule[]): RuleOutcome[] {
  if (agents !== undefined) return [];
  const words = wordsOf(text);
  const matched = rules.flatMap((rule) => {
    const word = found(rule, words);
    return word === undefined ? [] : [{ agents: rule.agents, priority: rule.priority, word }];
  });
  return matched.map((one, index) => ({ ...one, lost: index === 0 ? null : 'a rule before it matched' }));
}

/**
 * Returns the tasks of items. Throws `PlanInvalid` if no rule matches an item that names no agents, two items have one id,
 * an item needs what is not there, or there is a cycle. `newId` makes the ids of the log.
 */
export function propagate(
  items: readonly ItemInput[],
  rules: readonly RuleInput[] = DEFAULT_RULES,
  newId: () => string = () => crypto.randomUUID(),
): Propagated {
  const given = items.map((one) => item.parse(one));
  const known = rules.map((one) => rule.parse(one));
  const chains = new Map<string, string[]>();
  const propagations = given.map((one): Propagation => {
    if (chains.has(one.id)) throw new PlanInvalid(`two items have the id ${one.id}`);
    const outcomes = outcomesOf(one, known);
    const agents = one.agents ?? outcomes[0]?.agents;
    if (agents === undefined) throw new PlanInvalid(`no rule matches the item ${one.id}: name its agents`);
    chains.set(one.id, [...agents]);
    return { propagation_id: newId(), item_ref: one.id, item: one, rules: outcomes };
  });
  const nameOf = (id: string, index: number) => {
    const agent = chains.get(id)?.[index] ?? '';
    const again = (chains.get(id) ?? []).slice(0, index).filter((before) => before === agent).length;
    return again === 0 ? `${id}/${agent}` : `${id}/${agent} ${again + 1}`;
  };
  const lastOf = (id: string, by: string) => {
    const chain = chains.get(id);
    if (chain === undefined) throw new PlanInvalid(`item ${by} needs ${id}, which is not an item`);
    return nameOf(id, chain.length - 1);
  };
  const tasks = propagations.flatMap(
    ({ item: { id, text, needs, priority, input }, rules: outcomes, propagation_id }) => {
      return (chains.get(id) ?? []).map((agent, index) => ({
        ...task.parse({
          name: nameOf(id, index),
          agent_type: agent,
          needs: index === 0 ? needs.map((need) => lastOf(need, id)) : [nameOf(id, index - 1)],
          input: { text, ...input },
          priority: numberOf(priority ?? outcomes[0]?.priority ?? 'medium'),
        }),
        item_ref: id,
        propagation_id,
      }));
    },
  );
  orderOf(tasks);
  return { tasks, propagations };
}
