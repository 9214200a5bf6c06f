/**
 * A JSON parser as strict as a safetensors header needs. `JSON.parse` takes 1.0 for an integer, rounds
 * 9007199254740993, keeps the last of duplicate keys and accepts half a surrogate pair.
 */

/**
 * A nonnegative integer written as one (`12`, not `12.0`, `1e1` or `-0`) is a bigint, any other number a number.
 * Objects are maps, in which `__proto__` is a key like any other.
 */
export type Json = null | boolean | string | bigint | number | Json[] | Map<string, Json>;

/** How deep arrays and objects may nest: serde_json's limit, which Python's safetensors has. */
const MAX_DEPTH = 127;
/**
 * A limit, because a header of a hundred megabytes could hold 33 million empty objects, more than Node's memory; a
 * tensor takes about 8 values.
 */
const MAX_VALUES = 4_000_000;
const NUMBER = /-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?/y;
const LITERALS = new Map<string, Json>([
  ['null', null],
  ['true', true],
  ['false', false],
]);
const LONE_SURROGATE = /\p{Surrogate}/u;

/** @throws SyntaxError saying what is wrong and at which character. */
export function parseStrictJson(text: string): Json {
  return new Parser(text).whole();
}

class Parser {
  #at = 0;
  #values = 0;

  constructor(readonly text: string) {}

  whole(): Json {
    const value = this.#value(0);
    if (this.#at !== this.text.length) this.#fail('there is text after the end');
    return value;
  }

  /** A value with the white space around it. */
  #value(depth: number): Json {
    this.#values += 1;
    if (this.#values > MAX_VALUES) this.#fail(`it holds more than ${MAX_VALUES} values`);
    this.#space();
    const first = this.text[this.#at];
    const value =
      first === '{'
        ? this.#object(depth + 1)
        : first === '['
          ? this.#array(depth + 1)
          : first === '"'
            ? this.#string()
            : first === '-' || (first !== undefined && first >= '0' && first <= '9')
              ? this.#number()
              : this.#literal();
    this.#space();
    return value;
  }

  #object(depth: number): Map<string, Json> {
    const members = new Map<string, Json>();
    this.#items(depth, '}', () => {
      this.#space();
      if (this.text[this.#at] !== '"') this.#fail('a key is expected');
      const key = this.#string();
      this.#space();
      if (this.text[this.#at] !== ':') this.#fail('":" is expected');
      this.#at += 1;
      if (members.has(key)) this.#fail(`the key ${JSON.stringify(key)} comes twice`);
      members.set(key, this.#value(depth));
    });
    return members;
  }

  #array(depth: number): Json[] {
    const items: Json[] = [];
    this.#items(depth, ']', () => items.push(this.#value(depth)));
    return items;
  }

  /** The comma-separated items between two brackets. */
  #items(depth: number, end: string, item: () => void): void {
    if (depth > MAX_DEPTH) this.#fail(`it nests more than ${MAX_DEPTH} deep`);
    this.#at += 1;
    this.#space();
    if (this.text[this.#at] !== end) {
      for (item(); this.text[this.#at] === ',';) {
        this.#at += 1;
        item();
      }
    }
    if (this.text[this.#at] !== end) this.#fail(`"," or "${end}" is expected`);
    this.#at += 1;
  }

  #string(): string {
    const start = this.#at;
    let end = start + 1;
    while (end < this.text.length && this.text[end] !== '"') end += this.text[end] === '\\' ? 2 : 1;
    if (end >= this.text.length) this.#fail('a string does not end');
    this.#at = end + 1;
    let string: string;
    try {
      string = JSON.parse(this.text.slice(start, this.#at)) as string; // unescapes, and refuses control characters
    } catch {
      return this.#fail('a string is malformed');
    }
    if (LONE_SURROGATE.test(string)) this.#fail('a string holds half a surrogate pair');
    return string;
  }

  #number(): number | bigint {
    NUMBER.lastIndex = this.#at;
    const match = NUMBER.exec(this.text);
    if (match === null) return this.#fail('a number is malformed');
    const [digits, fraction, exponent] = match;
    this.#at += digits.length;
    // Beyond float64's range serde_json refuses; below it, digits beyond 20 are no u64 and not worth a huge bigint.
    if (!Number.isFinite(Number(digits))) this.#fail('a number is out of range');
    return fraction === undefined && exponent === undefined && digits[0] !== '-' && digits.length <= 20
      ? BigInt(digits)
      : Number(digits);
  }

  #literal(): Json {
    for (const [word, value] of LITERALS) {
      if (this.text.startsWith(word, this.#at)) {
        this.#at += word.length;
        return value;
      }
    }
    return this.#fail(this.#at < this.text.length ? 'a value is expected' : 'it ends too early');
  }

  #space(): void {
    while (' \n\r\t'.includes(this.text[this.#at] ?? 'end')) this.#at += 1;
  }

  #fail(reason: string): never {
    throw new SyntaxError(`${reason} at character ${this.#at}`);
  }
}
