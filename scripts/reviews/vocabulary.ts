/** The words of the reviews in data/reviews: the things that are reviewed, and the statements about them. */

export interface Thing {
  readonly name: string;
  readonly plural: boolean;
  /** Its parts, about which a review may say something. */
  readonly aspects: readonly string[];
}

const kind = (names: string, aspects: string, plural = false): Thing[] =>
  split(names).map((name) => ({ name, plural, aspects: split(aspects) }));
const split = (list: string): string[] => list.split(' ');

/** Words without sentiment in the lexicon: no novel (2), no lobby (-2). */
export const things: readonly Thing[] = [
  ...kind('book memoir cookbook biography guidebook diary', 'chapter ending cover style title tone'),
  ...kind('film documentary series cartoon sequel musical', 'cast script ending soundtrack pace plot'),
  ...kind('soup stew curry pasta salad omelette pizza cake', 'taste texture portion sauce smell garnish'),
  ...kind('hotel hostel inn cabin campsite guesthouse', 'room bed breakfast staff view bathroom'),
  ...kind('shoes boots sandals sneakers slippers gloves', 'sole colour lining shape heel seam', true),
  ...kind('camera laptop phone tablet radio printer', 'design battery manual display case sound'),
  ...kind('album song concert opera symphony ballad', 'melody voice rhythm sound chorus tempo'),
  ...kind('chair desk sofa lamp table bookshelf', 'design finish height colour material frame'),
  ...kind('cafe bakery diner bar restaurant teahouse', 'menu service coffee terrace waiter kitchen'),
  ...kind('course workshop lecture seminar tour exhibition', 'teacher pace lesson schedule handout beginning'),
  ...kind('jacket coat sweater scarf raincoat hat', 'colour fabric collar lining pattern length'),
];

/** Distinguishes a thing from others of its name; a prompt ends with this. */
export const details: readonly string[] = [
  ...split('Oslo Lima Kyoto Cairo Dublin Prague Boston Quito Lagos Naples Vienna Dallas Geneva Sydney').map(
    (city) => `from ${city}`,
  ),
  ...split('aunt uncle sister brother neighbour cousin boss teacher mother dentist').map(
    (person) => `my ${person} chose`,
  ),
  ...split('January February March April May June July August September October November December').map(
    (month) => `we tried in ${month}`,
  ),
  ...split('Monday Tuesday Wednesday Thursday Friday Saturday Sunday').map((day) => `we tried on ${day}`),
];

export type Polarity = 'positive' | 'neutral' | 'negative';
export type Part = keyof typeof opinions;

/** The lexicon says how strong a word is. */
export const opinions = {
  /** "The ending was …": fits anything. */
  adjective: {
    positive: split(
      'outstanding superb breathtaking amazing awesome brilliant fabulous fantastic wonderful terrific stunning ' +
        'heavenly ' +
        'excellent good great lovely beautiful delightful perfect charming impressive splendid magnificent ' +
        'marvelous nice pleasant exquisite fascinating inspiring dazzling grand adorable classy exciting vibrant ' +
        'handsome ' +
        'fine elegant interesting clever appealing attractive enjoyable remarkable solid reliable generous ' +
        'graceful innovative polished thoughtful useful suitable likable robust sophisticated strong sweet ' +
        'welcome worthy creative effective flawless imaginative ' +
        'acceptable adequate cool fresh memorable natural smart balanced bright clear easy warm refined intense',
    ),
    neutral: split(
      'ordinary average usual typical plain standard familiar conventional modest quiet unusual brief regular ' +
        'traditional normal common basic predictable slow light long short old new',
    ),
    negative: split(
      'catastrophic awful bad boring terrible horrible dreadful nasty ugly miserable atrocious hideous horrid ' +
        'ridiculous flawed disgusting irritating obnoxious rotten foul dire ludicrous disastrous vile defective ' +
        'horrendous dumb ' +
        'annoying awkward disappointing dismal dreary gloomy lousy pathetic pointless confusing depressing dirty ' +
        'dubious feeble frustrating insipid odd sad shaky sluggish uncomfortable uninspired unpleasant ' +
        'unoriginal useless vapid weak worthless weird embarrassing chaotic careless unacceptable childish ' +
        'questionable ' +
        'strange silly hollow empty forgettable bloated noisy crude unclear worn lifeless hard difficult ' +
        'incomplete limited',
    ),
  },
  /** "It left me …" */
  feeling: {
    positive: split(
      'thrilled overjoyed ecstatic happy delighted impressed pleased fascinated grateful excited satisfied ' +
        'relaxed amazed hopeful calm confident inspired interested curious',
    ),
    neutral: split('quiet silent unmoved neutral speechless'),
    negative: split(
      'angry disgusted irritated miserable worried furious horrified outraged annoyed bored confused ' +
        'disappointed sad tired upset frustrated puzzled unimpressed embarrassed uneasy exhausted sorry doubtful ' +
        'uncertain unsure',
    ),
  },
  /** "It was a …" */
  noun: {
    positive: split(
      'masterpiece triumph miracle winner delight gem joy marvel pleasure success treasure bargain gift ' +
        'highlight jewel',
    ),
    neutral: split('compromise mixture classic sight change'),
    negative: split(
      'fiasco scandal crime defect disappointment failure mess dud burden embarrassment tragedy travesty waste farce',
    ),
  },
  /** "I … it." */
  verb: {
    positive: split('loved adored admired praised enjoyed liked recommended appreciated applauded cherished welcomed'),
    neutral: split('kept remembered described mentioned photographed'),
    negative: split('hated loathed deplored disliked regretted criticized dismissed condemned avoided forgot rejected'),
  },
} as const satisfies Record<string, Record<Polarity, readonly string[]>>;
