import type { ClientAct, ClientPreview, ClientTarget, ClientUndone, ClientWritten } from '$lib/contract';
import type { Model } from '$lib/state/model';
import { CallError } from '$lib/transport';
import { proposed, shownAnew } from './clients';
import type { ClientKind } from './model';

/** From the clients on this machine to a written file, and back: what is written is what was shown. */
export class Writing {
  /** Files of clients; absent until they were looked for. */
  targets = $state.raw<ClientTarget[]>();
  path = $state('');
  act = $state<ClientAct>('connect');
  preview = $state.raw<ClientPreview>();
  /** The file changed since it was shown; the preview is of now. */
  changed = $state(false);
  /** Why the last thing that was asked did not work. */
  trouble = $state('');
  busy = $state(false);
  written = $state.raw<ClientWritten>();
  undone = $state.raw<ClientUndone>();

  /** Those of clients that are on this machine. */
  found = $derived((this.targets ?? []).filter((target) => target.installed));
  /** Those of clients that are not, as far as can be seen. */
  others = $derived((this.targets ?? []).filter((target) => !target.installed));
  target = $derived(this.targets?.find((target) => target.path === this.path));

  #model: Model;
  #kind: ClientKind;
  #asked = 0;

  constructor(model: Model, kind: ClientKind) {
    this.#model = model;
    this.#kind = kind;
  }

  /** Looks for clients, and shows what the file of one would become. */
  async load(): Promise<void> {
    await this.#look();
    const first = proposed(this.found, this.#kind);
    if (first) await this.choose(first.path);
  }

  async choose(path: string, act: ClientAct = 'connect'): Promise<void> {
    const asked = ++this.#asked;
    this.path = path;
    this.act = act;
    this.preview = undefined;
    this.changed = false;
    this.trouble = '';
    this.undone = undefined;
    if (!this.target || this.target.refused !== undefined) return;
    try {
      const preview = await this.#model.call('gateway.connect_preview', { path, act });
      // Another one was chosen meanwhile.
      if (asked === this.#asked) this.preview = preview;
    } catch (error) {
      if (asked === this.#asked) this.trouble = `Failed to ${CallError.of(error).message}.`;
    }
  }

  async write(): Promise<void> {
    const { path, act, preview } = this;
    if (!preview || this.busy) return;
    this.busy = true;
    this.trouble = '';
    try {
      this.written = await this.#model.call('gateway.connect_write', { path, act, hash: preview.hash });
      await this.#look();
    } catch (thrown) {
      const error = CallError.of(thrown);
      const anew = shownAnew(error);
      this.changed = anew !== undefined;
      if (anew) this.preview = anew;
      else this.trouble = `Failed to ${error.message}.`;
    }
    this.busy = false;
  }

  /** Restores a file byte by byte, and shows the way from there. */
  async undo(id: string): Promise<void> {
    if (this.busy) return;
    this.busy = true;
    this.trouble = '';
    try {
      const undone = await this.#model.call('gateway.connect_undo', { id });
      this.written = undefined;
      await this.#look();
      await this.choose(this.path);
      this.undone = undone;
    } catch (error) {
      this.trouble = `Failed to ${CallError.of(error).message}.`;
    }
    this.busy = false;
  }

  async #look(): Promise<void> {
    try {
      this.targets = await this.#model.call('gateway.targets', {});
    } catch (error) {
      this.trouble = `Failed to ${CallError.of(error).message}.`;
    }
  }
}
