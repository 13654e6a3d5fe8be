import { quality } from '@attune/data';
import { expect, test } from 'vitest';

/** Answers that a person would keep, by what may be held against them. */
const ANSWERS: Readonly<Record<string, readonly string[]>> = {
  'no full stop behind the last sentence': [
    '春天来了。花儿都开了。我们一起去公园散步吧',
    '彼の趣味は読書。好きな食べ物はりんご',
    '서울은 대한민국의 수도입니다. 아주 큰 도시예요',
    'نعم، هذا صحيح. يمكنك البدء الآن',
    'تهران پایتخت ایران است. جمعیت آن حدود نه میلیون نفر است',
    'ירושלים היא בירת ישראל. היא עיר עתיקה מאוד',
    'दिल्ली भारत की राजधानी है। यह बहुत पुराना शहर है',
    'சென்னை தமிழ்நாட்டின் தலைநகரம். அது கடற்கரையில் உள்ளது',
    'ใช่ครับ ผมเห็นด้วย และคิดว่าเราควรเริ่มทันที',
    'Да, это верно. Можно начинать прямо сейчас',
    'Η Αθήνα είναι η πρωτεύουσα της Ελλάδας. Είναι πολύ παλιά πόλη',
    'Das Verb ist trennbar: Ich stehe um sieben Uhr auf. Dann gehe ich aus',
    'È la capitale d’Italia. È una città molto antica',
    'Amsterdam is de hoofdstad van Nederland. Het is er mooi',
    'Ankara Türkiye’nin başkentidir. Çok güzel bir şehirdir',
    'Hà Nội là thủ đô của Việt Nam. Thành phố rất đẹp',
    'Jakarta adalah ibu kota Indonesia. Kota ini sangat besar',
    'Helsinki on Suomen pääkaupunki. Se on kaunis kaupunki',
    'haha yeah. i think we should go tomorrow',
    'Mix flour, sugar and butter. Bake at 180 °C for 20 min',
    '"Where are you going?" she asked. "Home," he said, and he smiled',
    '— Привет! — сказал он.\n— Привет, — ответила она',
  ],
  'lines without an end': [
    'The fog comes\non little cat feet.\n\nIt sits looking\nover harbor and city\nand then moves on',
    'Oh, what a night. Late December\nWhat a very special time\nAs I remember what a night',
    'In the deep of the night,\nwhen the moon is out,\nI whisper your name,',
    'Anna: Hi! How are you?\nBen: Fine, thanks. And you?\nAnna: Great',
  ],
  'a last word that mostly goes on': [
    'Der Artikel von Haus ist das',
    'The most common word in English is the',
    'Das ist doch gut, oder',
    'That is the place where I come from',
    'Nobody knows who they are',
    'Ik weet het, en jij weet het',
    'Jag vill ha en bil, ge mig en',
    'Viajó por todo el norte y el sur',
  ],
  'an open sign that is none': [
    'The domain of the function is all real numbers in the interval (0, 1]',
    'The board is 5" wide and 3" thick.',
    'It is described in "the manual” of the machine',
  ],
  'a slot that is a tag or is spoken of': [
    '<think>\nHmm, 2+2.\n</think>\n<answer>4</answer>',
    'Use the <answer> tag to mark it.',
    'Put [answer] in brackets.',
    'Format it as {answer} in the f-string.',
  ],
  'a year that is no news': [
    'The treaty, in force as of 1958, is still important.',
    'This policy is effective as of January 1, 2020.',
    'Er stand 1990 am Tor und hat gewartet.',
  ],
  'a number that is nobody’s': [
    'Run pip install foo==1.2.3.4 first.',
    'See section 1.2.3.4 of the text.',
    'If you are in crisis, call 1-800-273-8255.',
    'The part has the code 12345678Z.',
  ],
};

test.each(Object.entries(ANSWERS))('%s is no reason to drop a row', async (_name, answers) => {
  const rows = answers.map((completion) => ({ prompt: 'Please answer the question.', completion }));
  const { dropped } = await quality(rows, {
    checks: ['completeness', 'accuracy', 'harmlessness'],
  });
  expect(dropped.map(({ reason, detail, row }) => [reason, detail, row])).toEqual([]);
});

test.each([
  ['undefined', 'What does console.log(undefined) print?'],
  ['NaN', 'What is 0/0 in JavaScript?'],
  ['...', 'What is the spread operator in JavaScript?'],
  ['XXX', 'What is 30 in Roman numerals?'],
  ['Lorem ipsum', 'What is the dummy text called?'],
  ['TODO: buy milk and call mom', 'Write a to-do list'],
])('%s may be the answer', async (completion, prompt) => {
  const checks = ['completeness'];
  expect((await quality([{ prompt, completion }], { checks })).dropped).toEqual([]);
  const other = { prompt: 'Which river flows through Paris?', completion };
  expect((await quality([other], { checks })).report.dropped).toEqual({ placeholder: 1 });
});
