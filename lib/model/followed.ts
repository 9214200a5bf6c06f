/** A forward pass that can be followed back once. */
import type { Gradient } from '../engine/embeddingGradient';
import { Gradients } from '../engine/gradients';
import { release, scope, type Handles } from '../engine/handle';
import { InputError } from '../errors';

/** Holds the activations: dispose of it where no backward follows. */
export abstract class FollowedOnce<Saved extends Handles> implements Disposable {
  #saved: Saved | undefined;

  constructor(saved: Saved) {
    this.#saved = saved;
  }

  /**
   * Gives what was saved to `back`, which makes the gradients of it, and frees it.
   *
   * @throws InputError if that was done before.
   */
  protected follow(back: (saved: Saved) => Map<string, Gradient>): Gradients {
    const saved = this.#saved;
    if (saved === undefined)
      throw new InputError('this recording was followed back or disposed of before; record the batch again');
    this.#saved = undefined;
    try {
      return new Gradients(scope(() => back(saved)));
    } finally {
      release(saved);
    }
  }

  /** Frees the activations; the recording's tensors stay yours. */
  [Symbol.dispose](): void {
    release(this.#saved);
    this.#saved = undefined;
  }
}
