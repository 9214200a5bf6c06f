/** No token ends a response, so that everyone makes as many; and nobody looks at the texts. */
export const endless = { eosTokenId: -1, decode: (): string => '' };
