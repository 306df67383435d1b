/** What a button came to. Good ends fade after six seconds, bad ones stay until they are dismissed. */
export type ToastKind = 'asked' | 'working' | 'good' | 'bad' | 'info';

export interface Toast {
  id: number;
  kind: ToastKind;
  title: string;
  text?: string | undefined;
  /** Where to read more. */
  link?: { label: string; href: string } | undefined;
}

const FADE_MS = 6_000;
const MOST = 5;

class Toasts {
  list = $state<Toast[]>([]);
  #ids = 0;

  /** Shows it and gives its id, with which it can be changed. */
  show(toast: Omit<Toast, 'id'>): number {
    const id = ++this.#ids;
    this.list.push({ ...toast, id });
    // The oldest that is not a failure makes room.
    while (this.list.length > MOST) {
      const at = this.list.findIndex((shown) => shown.kind === 'good' || shown.kind === 'info');
      this.list.splice(Math.max(0, at), 1);
    }
    this.#fade(id, toast.kind);
    return id;
  }

  change(id: number, change: Omit<Toast, 'id'>): void {
    const at = this.list.findIndex((toast) => toast.id === id);
    // A dismissed one comes back when it ends badly.
    if (at < 0) {
      if (change.kind === 'bad') this.show(change);
      return;
    }
    this.list[at] = { ...change, id };
    this.#fade(id, change.kind);
  }

  dismiss(id: number): void {
    this.list = this.list.filter((toast) => toast.id !== id);
  }

  #fade(id: number, kind: ToastKind): void {
    if (kind === 'good' || kind === 'info') setTimeout(() => this.dismiss(id), FADE_MS);
  }
}

export const toasts = new Toasts();
