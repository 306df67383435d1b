import { describe, expect, it } from 'vitest';
import { HELP, search } from './help';

describe('the fields of a definition', () => {
  const field = (section: string, name: string) =>
    HELP.find(({ title }) => title === section)?.fields.find((one) => one.name === name);

  it('come from the published schema, with what is accepted', () => {
    expect(HELP.map(({ title }) => title)).toEqual([
      'Workflow',
      'Step',
      'Retry of a step',
      'Variable',
      'What starts it',
      'Schedule',
      'Event',
      'Webhook',
    ]);
    expect(field('Workflow', 'name')).toMatchObject({ required: true, type: 'string' });
    expect(field('Workflow', 'on')).toMatchObject({ required: false, type: 'list of object' });
    expect(field('Step', 'needs')?.type).toBe('list of string');
    expect(field('What starts it', 'overlap')?.type).toBe('skip, queue, cancel_previous, allow');
    expect(field('Schedule', 'jitter')?.type).toBe('string');
    expect(HELP.every(({ fields }) => fields.every(({ about }) => about !== ''))).toBe(true);
  });

  it('are found by name and by what they say', () => {
    expect(search('IANA').map(({ title, fields }) => [title, fields.map(({ name }) => name)])).toEqual([
      ['Schedule', ['timezone']],
    ]);
    expect(search('  ')).toHaveLength(HELP.length);
    expect(search('no such thing')).toEqual([]);
  });
});
