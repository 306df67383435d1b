/** Fields of a definition, read from its published schema. */
import schema from '../../../../docs/workflow.schema.json';

export interface Field {
  name: string;
  about: string;
  required: boolean;
  /** What is accepted, where the schema says it in short. */
  type: string;
}

export interface Section {
  title: string;
  fields: Field[];
}

interface Node {
  description?: string;
  type?: string | string[];
  enum?: unknown[];
  const?: unknown;
  $ref?: string;
  anyOf?: Node[];
  oneOf?: Node[];
  items?: Node;
  properties?: Record<string, Node>;
  required?: string[];
}

const root = schema as unknown as Node & { $defs: Record<string, Node> };

/** The parts of a definition in the order in which they are written. */
const PARTS: readonly (readonly [title: string, def: string])[] = [
  ['Step', 'Step'],
  ['Retry of a step', 'Retry'],
  ['Variable', 'Var'],
  ['What starts it', 'OnTrigger'],
  ['Schedule', 'OnSchedule'],
  ['Event', 'OnEvent'],
  ['Webhook', 'OnWebhook'],
];

function typeOf(node: Node): string {
  const named = node.$ref?.split('/').at(-1);
  if (named) {
    const def = root.$defs[named];
    const words = def ? wordsOf(def) : '';
    return words || (def?.type === 'string' ? 'string' : 'object');
  }
  if (node.anyOf) return node.anyOf.filter(({ type }) => type !== 'null').map(typeOf)[0] ?? '';
  if (node.enum) return node.enum.filter((one) => one !== null).join(', ');
  const type = Array.isArray(node.type) ? node.type.find((one) => one !== 'null') : node.type;
  if (type === 'array') return node.items ? `list of ${typeOf(node.items)}` : 'list';
  return type ?? '';
}

/** The words of an enumeration. */
function wordsOf(node: Node): string {
  const words =
    node.enum ?? node.oneOf?.flatMap((one) => one.enum ?? (one.const === undefined ? [] : [one.const])) ?? [];
  return words.filter((one) => typeof one === 'string').join(', ');
}

function fieldsOf(node: Node | undefined): Field[] {
  return Object.entries(node?.properties ?? {}).map(([name, field]) => ({
    name,
    about: field.description ?? '',
    required: node?.required?.includes(name) ?? false,
    type: typeOf(field),
  }));
}

export const HELP: readonly Section[] = [
  { title: 'Workflow', fields: fieldsOf(root) },
  ...PARTS.map(([title, def]) => ({ title, fields: fieldsOf(root.$defs[def]) })),
].filter(({ fields }) => fields.length > 0);

/** The sections with what a search leaves of them. */
export function search(text: string): Section[] {
  const words = text.toLowerCase().trim();
  if (!words) return [...HELP];
  return HELP.map(({ title, fields }) => ({
    title,
    fields: fields.filter(({ name, about }) => `${name} ${about}`.toLowerCase().includes(words)),
  })).filter(({ fields }) => fields.length > 0);
}
