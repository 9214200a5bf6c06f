/**
 * How a setting is declared: once, with its type, range, default and help text. From the declaration come the type of a
 * trainer's options, the check of run.json, the command's flags, `--help` and shell completion.
 */
import * as v from 'valibot';

import { quoted } from '../errors';
import { expandHome } from '../hub/modelName';
import { didYouMean } from '../nearest';
import { refusal, type Range } from '../ranges';

export type Group = 'data' | 'model' | 'optimization' | 'loss' | 'sampling' | 'validation' | 'output';

export interface About<Value = unknown> {
  /** What the setting does, in the imperative: "Validate every N steps, and always after the last." */
  readonly help: string;
  readonly group?: Group;
  /** The value that applies where the setting is not given. It stands nowhere else: `withDefaults` fills it in. */
  readonly default?: Value;
  /** The same in a few words, where the default is not a single value; the help shows these. */
  readonly otherwise?: string;
  /** The setting has no default and must be given. */
  readonly required?: boolean;
  /** The placeholder of its value in the help. */
  readonly value?: string;
  /** A run that was begun with another value goes on: the setting does not change what is trained. */
  readonly sameRun?: boolean;
  /** The setting is known, so that a message can refuse it, but not listed in the help. */
  readonly hidden?: boolean;
}

export type Kind = 'number' | 'flag' | 'text' | 'path' | 'list' | 'repeated';

/** What is wrong with a value: it has another type, or it is not one of the values allowed. */
export type Checked<Value> = { readonly value: Value } | { readonly wrong: 'type' | 'value'; readonly message: string };

export interface Setting<Value = unknown, Required extends boolean = boolean, Default = unknown> extends Omit<
  About,
  'default'
> {
  readonly kind: Kind;
  readonly required: Required;
  /** A value, or undefined. */
  readonly default: Default;
  readonly range?: Range;
  readonly choices?: readonly string[];
  /** A value as it stands in a config file -> the value that the code receives. */
  readonly check: (value: unknown) => Checked<Value>;
}

export type Settings = Readonly<Record<string, Setting>>;
type RequiredOf<A extends About> = A extends { readonly required: true } ? true : false;
type ValueOf<S> = S extends Setting<infer Value> ? Value : never;
/** A setting of this value, as `About` describes it. */
type Declared<Value, A extends About> = Setting<
  Value,
  RequiredOf<A>,
  A extends { readonly default: unknown } ? Value : undefined
>;

/** The type of an object of such settings: required ones must be there, the others may be. */
export type OptionsOf<S extends Settings> = {
  -readonly [Name in keyof S as S[Name] extends Setting<unknown, true> ? Name : never]: ValueOf<S[Name]>;
} & {
  -readonly [Name in keyof S as S[Name] extends Setting<unknown, true> ? never : Name]?: ValueOf<S[Name]>;
};

/** The settings that have a default value, with the type of that value. */
export type DefaultsOf<S extends Settings> = {
  -readonly [Name in keyof S as undefined extends S[Name]['default'] ? never : Name]: ValueOf<S[Name]>;
};

/** The default values that are declared. */
export function defaultsOf<S extends Settings>(settings: S): DefaultsOf<S> {
  const entries = Object.entries(settings).map(([name, setting]) => [name, setting.default] as const);
  return Object.fromEntries(entries.filter(([, value]) => value !== undefined)) as DefaultsOf<S>;
}

/** The options, with each default value that is declared where an option is not given. */
export function withDefaults<S extends Settings, Options extends object>(
  options: Options,
  settings: S,
): Options & DefaultsOf<S> {
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  return { ...defaultsOf(settings), ...Object.fromEntries(given) } as Options & DefaultsOf<S>;
}

function declared<Value, A extends About>(
  kind: Kind,
  schema: v.GenericSchema<unknown, Value>,
  about: A,
  more: { range?: Range; choices?: readonly string[] } = {},
): Declared<Value, A> {
  const check = (value: unknown): Checked<Value> => {
    const { success, output, issues } = v.safeParse(schema, value, { abortPipeEarly: true });
    if (success) return { value: output };
    return { wrong: issues[0].kind === 'schema' ? 'type' : 'value', message: issues[0].message };
  };
  const required = (about.required ?? false) as RequiredOf<A>;
  return { ...about, ...more, kind, required, default: about.default, check } as Declared<Value, A>;
}

/** A number within its range. */
export const number = <const A extends About<number>>(range: Range, about: A): Declared<number, A> =>
  declared(
    'number',
    v.pipe(
      v.number('is not a number'),
      v.check(
        (value) => refusal(value, range) === undefined,
        ({ input }) => refusal(input, range)!,
      ),
    ),
    about,
    { range },
  );

/** True or false: `--name` and `--no-name` on the command line. */
export const flag = <const A extends About<boolean>>(about: A): Declared<boolean, A> =>
  declared('flag', v.boolean('is not true or false'), about);

export const text = <const A extends About<string>>(about: A): Declared<string, A> =>
  declared('text', v.string('is not a text'), about);

/** A file or folder; a `~` at its beginning is the home folder. */
export const path = <const A extends About<string>>(about: A): Declared<string, A> =>
  declared('path', v.pipe(v.string('is not a text'), v.transform(expandHome)), about);

/** One of some names. */
export const choice = <const Name extends string, const A extends About<NoInfer<Name>>>(
  known: readonly Name[],
  about: A,
): Declared<Name, A> =>
  declared(
    'text',
    v.pipe(
      v.string('is not a text'),
      v.check(
        (value) => isOneOf(value, known),
        ({ input }) => notOneOf(input, known),
      ),
      v.transform((value) => value as Name),
    ),
    about,
    { choices: known },
  );

/** Names with commas between them. */
export const list = <const A extends About<readonly string[]>>(about: A): Declared<readonly string[], A> =>
  declared('list', v.pipe(v.string('is not a text'), v.transform(names)), about);

/** Some of several names, with commas between them. */
export const choices = <const Name extends string, const A extends About<readonly NoInfer<Name>[]>>(
  known: readonly Name[],
  about: A,
): Declared<readonly Name[], A> =>
  declared(
    'list',
    v.pipe(
      v.string('is not a text'),
      v.transform(names),
      v.check(
        (values) => values.every((value) => isOneOf(value, known)),
        ({ input }) =>
          notOneOf(
            input.find((value) => !isOneOf(value, known))!,
            known,
          ),
      ),
      v.transform((values) => values as Name[]),
    ),
    about,
    { choices: known },
  );

/** A text that may be given several times on the command line. */
export const repeated = <const A extends About<readonly string[]>>(about: A): Declared<readonly string[], A> =>
  declared('repeated', v.array(v.string('is not a text')), about);

const names = (value: string): string[] => value.split(',').map((name) => name.trim());

const isOneOf = (value: string, known: readonly string[]): boolean => known.includes(value);
const notOneOf = (value: string, known: readonly string[]): string =>
  `must be one of ${known.join(', ')}, got ${quoted(value)}${didYouMean(value, known)}`;

/** The range of each setting that is a number. */
export function rangesOf<S extends Settings>(settings: S): { readonly [Name in keyof S]: Range } {
  const entries = Object.entries(settings).filter(([, { range }]) => range !== undefined);
  return Object.fromEntries(entries.map(([name, { range }]) => [name, range!])) as { [Name in keyof S]: Range };
}
