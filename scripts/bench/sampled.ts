/** No token ends a response, so all contenders generate equally many tokens; the texts are not used. */
export const endless = { eosTokenId: -1, decode: (): string => '' };
