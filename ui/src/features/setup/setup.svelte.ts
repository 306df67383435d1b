const KEY = 'flotilla.setup';

/** Whether this user is on the way from an empty fleet to a first proven server. */
class Setup {
  open = $state(false);

  constructor() {
    if (typeof localStorage !== 'undefined') this.open = localStorage.getItem(KEY) === 'open';
  }

  begin(): void {
    if (this.open) return;
    this.open = true;
    localStorage.setItem(KEY, 'open');
  }

  end(): void {
    this.open = false;
    localStorage.setItem(KEY, 'done');
  }
}

export const setup = new Setup();
