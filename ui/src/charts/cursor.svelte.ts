/** The moment that the cursor of a screen stands on; every strip with the same key shows its values there. */
export class Cursor {
  /** Milliseconds since the epoch, or null when nobody points: then the newest values are shown. */
  at = $state<number | null>(null);

  constructor(
    /** Joins the strips of one screen. */
    readonly key: string,
  ) {}
}
