/** Words that a language has in nearly every sentence, and that others rarely have. */
const WORDS: Readonly<Record<string, string>> = {
  en: 'the of and to in is are was were be been it that this these with for on as by at from or not you your they their his her he she we has have had will would can how what which who when where if but all any each into than then there do does did about more its an my i me',
  de: 'der die das und ist nicht ein eine einen einem einer mit den dem des von zu auf für im es sich auch wie was ich du wir sie er ihr aus bei nach über wird werden sind war hat haben kann dass oder aber mir dir geht guten',
  fr: 'le la les des et est un une du en dans que qui pour pas sur avec ce cette il elle nous vous je tu au aux par plus sont été être ont mais ou où comment bonjour tout',
  es: 'el la los las y es un una de en que por para con no se del al lo su como más pero está están son fue ser o qué cómo dónde hola muy este esta estás yo',
  it: 'il lo la gli le e è un una di in che per con non si del della dei delle al alla sono come più ma anche questo questa ho hai ha ciao oggi cosa perché stai',
  pt: 'o os as e é um uma de em que por para com não se do da dos das no na ao à mais mas como está são foi ser ou ele ela você eu isso este esta muito',
  nl: 'de het een en is van in op te dat die niet met zijn voor aan er ook als maar om naar door bij dan wat hoe ik je jij wij hij ze zij wordt worden heeft ben moe',
  sv: 'och att det som en ett är på av för med inte den till har jag du vi han hon de om var från eller men kan vad hur',
  da: 'og at det som en et er på af for med ikke den til har jeg du vi han hun de om var fra eller men kan hvad hvordan',
  no: 'og å det som en et er på av for med ikke den til har jeg du vi han hun de om var fra eller men kan hva hvordan',
  fi: 'ja on ei se että oli hän ovat mutta niin kuin myös joka mitä minä sinä me he tai kun ole ollut sen mikä',
  pl: 'i w na z się nie jest to że do jak o po co dla są był była ale czy przez od lub tak już tylko',
  cs: 'a je se na v že to s z do o jako ale jsou by byl byla není co pro podle nebo také jak',
  ro: 'și în de la cu nu este pe că o un care pentru din sunt mai ce dar sau se fi lui',
  hu: 'a az és hogy nem is egy van volt ez meg de csak mint már vagy ha mert ki mi',
  tr: 've bir bu da de için ile ne çok olarak gibi daha var mı mi değil olan ben sen o biz ama',
  id: 'yang dan di ini itu dengan untuk dari dalam tidak ke pada adalah akan juga saya kamu bisa ada',
  vi: 'và của là có không được cho các một với những này đã trong để người tôi bạn',
};

const languages = Object.keys(WORDS);
const holders = (): ReadonlyMap<string, readonly number[]> => {
  const found = new Map<string, number[]>();
  languages.forEach((language, i) => {
    for (const word of WORDS[language]!.split(' '))
      found.set(word, [...(found.get(word) ?? []), i]);
  });
  return found;
};
const HOLDERS = holders();

/** A language by its function words. */
export interface WordVote {
  readonly language: string;
  /** Its share of the votes; a word that several languages have is shared among them. */
  readonly share: number;
  /** Its votes. */
  readonly votes: number;
}

/** What the function words of a text say. null: it has none. */
export function voteByWords(words: readonly string[]): WordVote | null {
  const votes = new Float64Array(languages.length);
  let total = 0;
  for (const word of words) {
    const holding = HOLDERS.get(word);
    if (holding === undefined) continue;
    for (const language of holding) votes[language]! += 1 / holding.length;
    total++;
  }
  if (total === 0) return null;
  const best = votes.indexOf(Math.max(...votes));
  return { language: languages[best]!, share: votes[best]! / total, votes: votes[best]! };
}
