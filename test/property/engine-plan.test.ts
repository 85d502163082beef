import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { criticalPath, orderOf, PlanInvalid } from '../../server/engine/graph.js';
import { needsOf, type PlannedTask } from '../../server/engine/plan.js';
import { DEFAULT_RULES, propagate } from '../../server/engine/propagate.js';
import { seed } from './seed.js';

const runs = { seed: seed('engine-plan'), numRuns: 200 };
type Named = Pick<PlannedTask, 'name' | 'needs'>;

/** Tasks in any order, each of which needs only some with a lower number. */
const acyclic = fc.integer({ min: 1, max: 30 }).chain((size) =>
  fc
    .tuple(
      ...Array.from({ length: size }, (_, index) =>
        fc.uniqueArray(fc.integer({ min: 0, max: Math.max(0, index - 1) }), { maxLength: Math.min(index, 4) }),
      ),
    )
    .map((needs) => needs.map((of, index): Named => ({ name: `t${index}`, needs: of.map((need) => `t${need}`) })))
    .chain((tasks) => fc.shuffledSubarray(tasks, { minLength: tasks.length })),
);

const errorOf = (work: () => unknown): unknown => {
  try {
    return work();
  } catch (error) {
    return error;
  }
};

test('E17: every acyclic plan has an order in which each task follows all that it needs', () => {
  fc.assert(
    fc.property(acyclic, (tasks) => {
      const { names, level, width } = orderOf(tasks);
      expect([...names].sort()).toEqual(tasks.map(({ name }) => name).sort());
      for (const task of tasks) {
        for (const need of needsOf(task)) {
          expect(names.indexOf(need)).toBeLessThan(names.indexOf(task.name));
          expect(level.get(need)).toBeLessThan(level.get(task.name) ?? 0);
        }
      }
      expect(width).toBeGreaterThan(0);
    }),
    runs,
  );
});

test('E17: every cycle is refused, and what is named is one', () => {
  fc.assert(
    fc.property(acyclic, fc.nat(), fc.nat(), (tasks, a, b) => {
      const { names } = orderOf(tasks);
      // From an earlier task to a later one: with the way that may lead back there are cycles.
      const low = names[Math.min(a % names.length, b % names.length)] ?? '';
      const high = names[Math.max(a % names.length, b % names.length)] ?? '';
      const closed = tasks.map((task): Named => {
        if (task.name === high) return { ...task, needs: [...task.needs, low] };
        return task.name === low ? { ...task, needs: [...task.needs, high] } : task;
      });
      const error = errorOf(() => orderOf(closed));
      expect(error).toBeInstanceOf(PlanInvalid);
      const cycle = (error as PlanInvalid).cycle ?? [];
      expect(cycle.length).toBeGreaterThan(1);
      expect(cycle.at(-1)).toBe(cycle[0]);
      expect(new Set(cycle).size).toBe(cycle.length - 1);
      cycle.slice(0, -1).forEach((name, index) => {
        expect(needsOf(closed.find((task) => task.name === name) ?? { needs: [] })).toContain(cycle[index + 1]);
      });
    }),
    runs,
  );
});

test('the critical path is a chain, and no other is longer', () => {
  fc.assert(
    fc.property(acyclic, (tasks) => {
      const order = orderOf(tasks);
      const { names, length } = criticalPath(tasks, order);
      expect(names).toHaveLength(length);
      expect(length).toBe(Math.max(...order.level.values()));
      names.slice(1).forEach((name, index) => {
        expect(needsOf(tasks.find((task) => task.name === name) ?? { needs: [] })).toContain(names[index]);
      });
    }),
    runs,
  );
});

test('a chain of 10,000 tasks has an order, and as a ring a cycle', () => {
  const tasks = Array.from({ length: 10_000 }, (_, i): Named => ({ name: `${i}`, needs: i === 0 ? [] : [`${i - 1}`] }));
  expect(criticalPath(tasks, orderOf(tasks)).length).toBe(10_000);
  const ring = tasks.map((task, index) => (index === 0 ? { ...task, needs: ['9999'] } : task));
  expect((errorOf(() => orderOf(ring)) as PlanInvalid).cycle).toHaveLength(10_001);
});

const agentsOf = (text: string) =>
  propagate([{ id: 'i', text }]).tasks.map(({ agent_type, priority }) => `${agent_type} ${priority}`);

test.each([
  ['Send the offer to Ann', ['email 10', 'coordination 10']],
  ['Contacts of last week', ['email 10', 'coordination 10']],
  ['Draft a page about prices', ['content 10', 'analysis 10']],
  ['Study the market', ['research 0', 'analysis 0']],
  ['Meetings in March', ['scheduling 10', 'email 10']],
  ['Align with the team', ['coordination 0', 'analysis 0']],
  ['Write and send a letter', ['email 10', 'coordination 10']],
])('the default rules: %s', (text, agents) => {
  expect(agentsOf(text)).toEqual(agents);
});

test('each rule that matched is told, and why the others lost', () => {
  const { propagations, tasks } = propagate([{ id: 'i', text: 'Write, and SEND it' }], DEFAULT_RULES, () => 'p');
  expect(propagations).toEqual([
    {
      propagation_id: 'p',
      item_ref: 'i',
      item: { id: 'i', text: 'Write, and SEND it', needs: [], input: {} },
      rules: [
        { agents: ['email', 'coordination'], priority: 'high', word: 'send', lost: null },
        { agents: ['content', 'analysis'], priority: 'high', word: 'write', lost: 'a rule before it matched' },
      ],
    },
  ]);
  expect(tasks.map(({ name, needs, propagation_id }) => ({ name, needs, propagation_id }))).toEqual([
    { name: 'i/email', needs: [], propagation_id: 'p' },
    { name: 'i/coordination', needs: ['i/email'], propagation_id: 'p' },
  ]);
});

test('items wait for the last agent of those that they need; a cycle of items is named', () => {
  const items = [
    { id: 'one', text: 'research it' },
    { id: 'two', text: 'whatever', agents: ['email', 'email'], needs: ['one'] },
  ];
  expect(propagate(items).tasks.map(({ name, needs }) => [name, ...needs])).toEqual([
    ['one/research'],
    ['one/analysis', 'one/research'],
    ['two/email', 'one/analysis'],
    ['two/email 2', 'two/email'],
  ]);
  const ring = [{ ...items[0], needs: ['two'] }, items[1]] as typeof items;
  expect(() => propagate(ring)).toThrow(/a cycle: .*one\/research.*two\/email/);
  expect(() => propagate([{ id: 'x', text: 'nothing of that' }])).toThrow('no rule matches the item x');
});
