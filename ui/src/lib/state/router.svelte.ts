export const PLACES = [
  'overview',
  'servers',
  'traffic',
  'workflows',
  'metrics',
  'alerts',
  'logs',
  'agents',
  'fleets',
  'settings',
] as const;
export type Place = (typeof PLACES)[number];
export const SERVER_TABS = ['overview', 'tools', 'logs', 'events', 'traffic', 'config'] as const;
export type ServerTab = (typeof SERVER_TABS)[number];

/** Where the screen is: a place, or one server and its tab, a workflow, a run; the rest of the view's state stands in the query. */
export interface Route {
  place: Place;
  server?: string;
  tab?: ServerTab;
  workflow?: string;
  run?: number;
  /** The workflow whose definition is edited; empty for a new one. */
  edits?: string;
  query: URLSearchParams;
}

const isPlace = (text: string): text is Place => (PLACES as readonly string[]).includes(text);
const isTab = (text: string): text is ServerTab => (SERVER_TABS as readonly string[]).includes(text);

/** Reads `#/servers/NAME/TAB?query`, `#/workflows/definitions/NAME`, `#/workflows/runs/N`, `#/workflows/edit/NAME`, `#/workflows/edit`; anything unknown is the overview. */
export function parseRoute(hash: string): Route {
  const [path = '', search = ''] = hash.replace(/^#?\/?/, '').split('?', 2);
  const [first = '', server = '', tab = ''] = path.split('/').map(decode);
  const query = new URLSearchParams(search);
  if (first === 'servers' && server) return { place: 'servers', server, tab: isTab(tab) ? tab : 'overview', query };
  if (first === 'workflows' && server === 'definitions' && tab) return { place: 'workflows', workflow: tab, query };
  if (first === 'workflows' && server === 'edit') return { place: 'workflows', edits: tab, query };
  if (first === 'workflows' && server === 'runs' && /^\d{1,15}$/.test(tab))
    return { place: 'workflows', run: Number(tab), query };
  return { place: isPlace(first) ? first : 'overview', query };
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** The address of a place, for `href`. */
export function href(place: Place, query?: Record<string, string>): string {
  const search = query && Object.keys(query).length ? `?${new URLSearchParams(query)}` : '';
  return `#/${place}${search}`;
}

/** The address of a server's page, for `href`. */
export function serverHref(server: string, tab: ServerTab = 'overview', query?: Record<string, string>): string {
  const search = query && Object.keys(query).length ? `?${new URLSearchParams(query)}` : '';
  return `#/servers/${encodeURIComponent(server)}${tab === 'overview' ? '' : `/${tab}`}${search}`;
}

/** The address of a workflow's page, for `href`. */
export function workflowHref(name: string): string {
  return `#/workflows/definitions/${encodeURIComponent(name)}`;
}

/** The address where a definition is edited, or a new one written, for `href`. */
export function editHref(name?: string): string {
  return name === undefined ? '#/workflows/edit' : `#/workflows/edit/${encodeURIComponent(name)}`;
}

/** The address of a run, or of one of its steps, for `href`. */
export function runHref(run: number, step?: string): string {
  return `#/workflows/runs/${run}${step === undefined ? '' : `?${new URLSearchParams({ step })}`}`;
}

class Router {
  route = $state.raw<Route>({ place: 'overview', query: new URLSearchParams() });

  constructor() {
    if (typeof window === 'undefined') return;
    this.route = parseRoute(location.hash);
    window.addEventListener('hashchange', () => (this.route = parseRoute(location.hash)));
  }

  go(address: string): void {
    location.hash = address;
  }

  /** Changes one entry of the query in place, without a step in the history; an empty value removes it. */
  setQuery(name: string, value: string): void {
    this.setQueries({ [name]: value });
  }

  /** The same for several at once. */
  setQueries(entries: Readonly<Record<string, string>>): void {
    const query = new URLSearchParams(this.route.query);
    for (const [name, value] of Object.entries(entries)) {
      if (value) query.set(name, value);
      else query.delete(name);
    }
    const base = location.hash.split('?')[0] || '#/overview';
    const search = query.toString();
    history.replaceState(null, '', search ? `${base}?${search}` : base);
    this.route = { ...this.route, query };
  }
}

export const router = new Router();
