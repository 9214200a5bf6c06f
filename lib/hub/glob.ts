/**
 * Matches paths against patterns with *, ?, [...] and **, as a data set's card has them. The time is bounded by the
 * product of the two lengths: packages compile patterns to regular expressions, in which a pattern from a network could
 * backtrack for ever.
 */

/**
 * `**` stands for any number of folders, and at the end for everything in them; within a name, `*` for any characters,
 * `?` for one, and `[a-z]`, `[!a-z]` for one of some. A name that begins with a dot is matched only by a pattern that
 * has the dot, as in a shell.
 */
export function matchesGlob(path: string, pattern: string): boolean {
  const [names, parts] = [path.split('/'), pattern.split('/')];
  // reached[n]: whether the parts so far match the first n names
  let reached = names.map(() => false).concat(false);
  reached[0] = true;
  for (const [index, part] of parts.entries()) {
    const next = reached.map(() => false);
    const isLast = index === parts.length - 1;
    if (part === '**') {
      let open = false; // a ** that began at or before this name, with no hidden name since
      for (let n = 0; n <= names.length; n += 1) {
        open = open && !names[n - 1]!.startsWith('.');
        next[n] = open || (reached[n]! && !isLast); // at the end it stands for at least one name
        open ||= reached[n]!;
      }
    } else {
      const tokens = tokensOf(part);
      for (let n = 0; n < names.length; n += 1) next[n + 1] = reached[n]! && nameMatches(names[n]!, part, tokens);
    }
    reached = next;
  }
  return reached[names.length]!;
}

type Token = '*' | ((character: string) => boolean);

function tokensOf(part: string): Token[] {
  const characters = [...part];
  const tokens: Token[] = [];
  for (let at = 0; at < characters.length; at += 1) {
    const character = characters[at]!;
    const end = character === '[' ? characters.indexOf(']', at + 2) : -1;
    if (character === '*') {
      if (tokens.at(-1) !== '*') tokens.push('*');
    } else if (character === '?') {
      tokens.push(() => true);
    } else if (end > 0) {
      tokens.push(oneOf(characters.slice(at + 1, end)));
      at = end;
    } else {
      tokens.push((other) => other === character);
    }
  }
  return tokens;
}

/** The characters between brackets; "!" or "^" at the beginning excludes them, and a-z is a range. */
function oneOf(set: readonly string[]): (character: string) => boolean {
  const excluded = set[0] === '!' || set[0] === '^';
  const members = excluded ? set.slice(1) : set;
  const within = (character: string): boolean =>
    members.some(
      (member, n) =>
        member === character ||
        (members[n + 1] === '-' && members[n + 2] !== undefined && member <= character && character <= members[n + 2]!),
    );
  return (character) => within(character) !== excluded;
}

function nameMatches(name: string, part: string, tokens: readonly Token[]): boolean {
  if (name.startsWith('.') && !part.startsWith('.')) return false;
  const characters = [...name];
  let [n, t] = [0, 0];
  let star: { readonly token: number; name: number } | undefined; // the last * and where it ends for now
  while (n < characters.length) {
    const token = tokens[t];
    if (token === '*') {
      star = { token: t, name: n };
      t += 1;
    } else if (token?.(characters[n]!)) {
      [n, t] = [n + 1, t + 1];
    } else if (star) {
      star.name += 1; // the * takes one more character
      [n, t] = [star.name, star.token + 1];
    } else {
      return false;
    }
  }
  while (tokens[t] === '*') t += 1;
  return t === tokens.length;
}
