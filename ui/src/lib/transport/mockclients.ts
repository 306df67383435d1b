import type {
  ClientConnect,
  ClientPreview,
  ClientTarget,
  ClientUndo,
  ClientUndone,
  ClientWritten,
} from '$lib/contract';
import { CallError } from './index';

const URL = 'http://127.0.0.1:8720/mcp';
const ENTRY = ['  "mcpServers": {', `    "flotilla": { "url": "${URL}" }`, '  }'];

const target = (client: string, path: string, more: Partial<ClientTarget> = {}): ClientTarget => ({
  client,
  path,
  project: false,
  exists: true,
  installed: true,
  via: 'http',
  entry: 'absent',
  name: 'flotilla',
  paste: `{\n${ENTRY.join('\n')}\n}\n`,
  ...more,
});

/** Clients' files in memory: written, changed by somebody else, undone. */
export class MockClients {
  #targets = [
    target('Claude Code', '/home/dana/.claude.json', { entry: 'current' }),
    target('Cursor', '/home/dana/.cursor/mcp.json'),
    target('VS Code', '/home/dana/.config/Code/User/mcp.json', {
      entry: 'unknown',
      refused: 'failed to read /home/dana/.config/Code/User/mcp.json: line 4, column 2: expected a comma',
    }),
    target('Goose', '/home/dana/.config/goose/config.yaml', {
      entry: 'unknown',
      refused: 'the file of Goose is YAML, which is not written here: paste the text there',
      paste: `extensions:\n  flotilla:\n    type: streamable_http\n    uri: ${URL}\n`,
    }),
    target('Zed', '/home/dana/.config/zed/settings.json', { exists: false, installed: false }),
  ];
  #edits = new Map<string, number>();
  #written: ClientWritten[] = [];

  targets(): ClientTarget[] {
    return this.#targets;
  }

  /** Somebody else changes a file. */
  edit(path: string): void {
    this.#edits.set(path, (this.#edits.get(path) ?? 0) + 1);
  }

  preview({ path, act = 'connect' }: ClientConnect): ClientPreview {
    const { client, exists, entry } = this.#find(path);
    const changes = act === 'connect' ? entry !== 'current' : entry === 'current';
    const sign = act === 'connect' ? ('added' as const) : ('removed' as const);
    return {
      client,
      path,
      exists,
      changes,
      diff: changes
        ? [{ sign: 'same', text: '{' }, ...ENTRY.map((text) => ({ sign, text })), { sign: 'same', text: '}' }]
        : [],
      hash: `${act}-${this.#edits.get(path) ?? 0}`,
    };
  }

  write(params: ClientConnect): ClientWritten {
    const { path, act = 'connect', hash } = params;
    const now = this.preview(params);
    if (now.hash !== hash)
      throw new CallError({
        code: 'conflict',
        message: `write ${path}: it changed since it was shown; look at the preview again`,
        detail: now,
      });
    const written = {
      id: `w-${this.#written.length + 1}`,
      client: now.client,
      path,
      at: Date.now(),
      ...(now.exists
        ? { backup: `/home/dana/.local/share/flotilla/clients/${this.#written.length + 1}-mcp.json` }
        : {}),
      after: 'abc',
      folders: [],
    };
    this.#written.push(written);
    this.#put(path, { exists: true, entry: act === 'connect' ? 'current' : 'absent', undo: written.id });
    return written;
  }

  undo({ id }: ClientUndo): ClientUndone {
    const written = this.#written.find((one) => one.id === id);
    if (!written)
      throw new CallError({ code: 'not_found', message: "undo the change of a client's file: it was undone" });
    const exists = written.backup !== undefined;
    const { entry } = this.#find(written.path);
    this.#put(written.path, { exists, entry: entry === 'current' ? 'absent' : 'current' });
    return { path: written.path, exists };
  }

  #find(path: string): ClientTarget {
    const found = this.#targets.find((one) => one.path === path);
    if (!found) throw new CallError({ code: 'not_found', message: `find ${path} among the files of clients` });
    return found;
  }

  #put(path: string, change: Partial<ClientTarget>): void {
    this.#targets = this.#targets.map((one) => {
      if (one.path !== path) return one;
      const rest = { ...one };
      delete rest.undo;
      return { ...rest, ...change };
    });
  }
}
