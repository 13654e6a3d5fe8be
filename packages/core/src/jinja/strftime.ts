const days = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'];
const months = [
  ...['January', 'February', 'March', 'April', 'May', 'June', 'July', 'August', 'September'],
  ...['October', 'November', 'December'],
];

/**
 * C's strftime in the C locale and the local time, with glibc's `%-d` for numbers without padding.
 */
export function strftime(date: Date, format: string): string {
  return format.replace(/%([-_0^]?)([\s\S])/g, (all, flag: string, code: string) => {
    const made = part(date, code);
    if (made === null) return all;
    if (flag === '-') return made.replace(/^[0 ]+(?=.)/, '');
    if (flag === '_') return made.replace(/^0+(?=.)/, (zeros) => ' '.repeat(zeros.length));
    return flag === '^' ? made.toUpperCase() : made;
  });
}

const pad = (number: number, width = 2, fill = '0') => String(number).padStart(width, fill);

function part(date: Date, code: string): string | null {
  const [day, month, weekday] = [date.getDate(), date.getMonth(), date.getDay()];
  const year = date.getFullYear();
  const hour12 = date.getHours() % 12 || 12;
  const start = new Date(year, 0, 1);
  const dayOfYear = Math.round((new Date(year, month, day).getTime() - start.getTime()) / 864e5);
  const inner = (format: string) => strftime(date, format);
  const iso = new Date(year, month, day + 3 - ((weekday + 6) % 7)); // its Thursday
  const isoStart = new Date(iso.getFullYear(), 0, 1);
  switch (code) {
    case 'a':
      return days[weekday]!.slice(0, 3);
    case 'A':
      return days[weekday]!;
    case 'b':
    case 'h':
      return months[month]!.slice(0, 3);
    case 'B':
      return months[month]!;
    case 'c':
      return inner('%a %b %e %H:%M:%S %Y');
    case 'C':
      return pad(Math.floor(year / 100));
    case 'd':
      return pad(day);
    case 'D':
    case 'x':
      return inner('%m/%d/%y');
    case 'e':
      return pad(day, 2, ' ');
    case 'f':
      return pad(date.getMilliseconds() * 1000, 6);
    case 'F':
      return inner('%Y-%m-%d');
    case 'g':
      return pad(iso.getFullYear() % 100);
    case 'G':
      return String(iso.getFullYear());
    case 'H':
      return pad(date.getHours());
    case 'I':
      return pad(hour12);
    case 'j':
      return pad(dayOfYear + 1, 3);
    case 'k':
      return pad(date.getHours(), 2, ' ');
    case 'l':
      return pad(hour12, 2, ' ');
    case 'm':
      return pad(month + 1);
    case 'M':
      return pad(date.getMinutes());
    case 'n':
      return '\n';
    case 'p':
      return date.getHours() < 12 ? 'AM' : 'PM';
    case 'P':
      return date.getHours() < 12 ? 'am' : 'pm';
    case 'r':
      return inner('%I:%M:%S %p');
    case 'R':
      return inner('%H:%M');
    case 's':
      return String(Math.floor(date.getTime() / 1000));
    case 'S':
      return pad(date.getSeconds());
    case 't':
      return '\t';
    case 'T':
    case 'X':
      return inner('%H:%M:%S');
    case 'u':
      return String(weekday || 7);
    case 'U':
      return pad(Math.floor((dayOfYear + 7 - weekday) / 7));
    case 'V':
      return pad(Math.floor(Math.round((iso.getTime() - isoStart.getTime()) / 864e5) / 7) + 1);
    case 'w':
      return String(weekday);
    case 'W':
      return pad(Math.floor((dayOfYear + 7 - ((weekday + 6) % 7)) / 7));
    case 'y':
      return pad(year % 100);
    case 'Y':
      return String(year);
    // transformers asks for the time without a zone: both are empty there.
    case 'z':
    case 'Z':
      return '';
    case '%':
      return '%';
  }
  return null;
}
