import type { CheckedExpr, RuleEdit, RulePreview } from '$lib/contract';
import { toasts } from '$kit/toasts.svelte';
import type { Model } from '$lib/state/model';
import { CallError } from '$lib/transport';

/** From one letter to the next question. */
const SETTLE_MS = 250;

/** A change of the rules: what the condition gives now, what the file would become, and the writing; what is written is what was shown. */
export class Ruling {
  checked = $state.raw<CheckedExpr>();
  preview = $state.raw<RulePreview>();
  /** Why there is no preview, or why it was not written. */
  trouble = $state('');
  /** The file changed since it was shown; the preview is of now. */
  changed = $state(false);
  busy = $state(false);

  #model: Model;
  #edit: RuleEdit | undefined;
  #timers: Record<'check' | 'preview', ReturnType<typeof setTimeout> | undefined> = {
    check: undefined,
    preview: undefined,
  };
  #asked = { check: 0, preview: 0 };

  constructor(model: Model) {
    this.#model = model;
  }

  /** Asks what a condition gives now, a moment after the last call. */
  check(expr: string): void {
    const asked = ++this.#asked.check;
    clearTimeout(this.#timers.check);
    if (expr.trim() === '') {
      this.checked = undefined;
      return;
    }
    this.#timers.check = setTimeout(async () => {
      const checked = await this.#model.call('alerts.check', { expr }).catch(() => undefined);
      if (asked === this.#asked.check) this.checked = checked;
    }, SETTLE_MS);
  }

  /** Asks what the file would become, a moment after the last call; without a change there is nothing to show. */
  show(edit: RuleEdit | undefined): void {
    clearTimeout(this.#timers.preview);
    this.#edit = edit;
    ++this.#asked.preview;
    this.changed = false;
    if (edit) this.#timers.preview = setTimeout(() => void this.#look(), SETTLE_MS);
    else [this.preview, this.trouble] = [undefined, ''];
  }

  /** Writes what was shown. Whether it was. */
  async write(): Promise<boolean> {
    const [edit, shown] = [this.#edit, this.preview];
    if (!edit || !shown || this.busy) return false;
    this.busy = true;
    this.trouble = '';
    try {
      const written = await this.#model.call('alerts.rule_write', { edit, hash: shown.hash });
      toasts.show({ kind: 'good', title: written.changes.join('; ') || 'Nothing was to be changed' });
      await this.#model.alerts.read();
      return true;
    } catch (thrown) {
      const error = CallError.of(thrown);
      if (error.code === 'conflict') {
        await this.#look();
        this.changed = true;
      } else this.trouble = `Failed to ${error.message}.`;
      return false;
    } finally {
      this.busy = false;
    }
  }

  close(): void {
    clearTimeout(this.#timers.check);
    clearTimeout(this.#timers.preview);
    ++this.#asked.check;
    ++this.#asked.preview;
  }

  async #look(): Promise<void> {
    const [edit, asked] = [this.#edit, ++this.#asked.preview];
    if (!edit) return;
    try {
      const preview = await this.#model.call('alerts.rule_preview', edit);
      if (asked === this.#asked.preview) [this.preview, this.trouble] = [preview, ''];
    } catch (error) {
      if (asked === this.#asked.preview)
        [this.preview, this.trouble] = [undefined, `Failed to ${CallError.of(error).message}.`];
    }
  }
}
