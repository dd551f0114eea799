// @ts-check
/**
 * Does work with the newest request only: one at a time, and of those that come meanwhile the last.
 * @template Request
 */
export class Newest {
  /** @param {(request: Request) => Promise<void>} work must not reject. */
  constructor(work) {
    this.work = work;
    /** @type {{request: Request} | undefined} */
    this.next = undefined;
    /** @type {Promise<void> | undefined} */
    this.running = undefined;
  }

  /**
   * Ask for work; resolves when nothing is left to do.
   * @param {Request} request
   */
  ask(request) {
    this.next = { request };
    this.running ??= this.#run().finally(() => (this.running = undefined));
    return this.running;
  }

  async #run() {
    while (this.next) {
      const { request } = this.next;
      this.next = undefined;
      await this.work(request);
    }
  }
}
