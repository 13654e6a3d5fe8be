import { crc32 } from 'node:zlib';
import type { ColumnMetaData, DecodedArray, Encoding, PageHeader, SchemaTree } from 'hyparquet';
import { assembleLists } from 'hyparquet/src/assemble.js';
import { parquetHeader } from 'hyparquet/src/column.js';
import { convert } from 'hyparquet/src/convert.js';
import { readDataPageV2 } from 'hyparquet/src/datapage.js';
import { readRleBitPackedHybrid } from 'hyparquet/src/encoding.js';
import { readPlain } from 'hyparquet/src/plain.js';
import { getMaxDefinitionLevel, getMaxRepetitionLevel } from 'hyparquet/src/schema.js';
import type { ColumnDecoder } from 'hyparquet/src/types.js';
import type { BytesOfFile } from './fileBytes.js';
import { bitWidthOf, checkRuns, checkValues } from './parquetChecks.js';
import { decompressed, ownConversion, parsers } from './parquetValues.js';
import type { Patience } from './patience.js';

/** Bytes of a header of a page; of one with long statistics there are more. */
const HEADER_BYTES = 2 ** 12;
const LONGEST_HEADER = 2 ** 26;

/** The values of one column in one row group, page by page. */
export class ParquetColumn {
  readonly #element: SchemaTree['element'];
  readonly #levels: { readonly repetition: number; readonly definition: number };
  readonly #end: number;
  #at: number;
  #valuesLeft: number;
  #dictionary: DecodedArray | undefined;
  /** Rows that nobody has taken yet, from #taken on. */
  #rows: unknown[] = [];
  #taken = 0;

  /** @throws where the column cannot be in the file */
  constructor(
    private readonly file: BytesOfFile,
    private readonly metadata: ColumnMetaData,
    private readonly schemaPath: SchemaTree[],
    private readonly patience: Patience,
  ) {
    this.#element = schemaPath.at(-1)!.element;
    this.#levels = {
      repetition: getMaxRepetitionLevel(schemaPath),
      definition: getMaxDefinitionLevel(schemaPath),
    };
    const data = Number(metadata.data_page_offset);
    const dictionary = Number(metadata.dictionary_page_offset ?? 0n);
    this.#at = dictionary > 0 && dictionary < data ? dictionary : data;
    this.#end = this.#at + Number(metadata.total_compressed_size);
    if (!(this.#at >= 4 && this.#end >= this.#at && this.#end <= file.byteLength - 8))
      throw new Error(`bytes ${this.#at} to ${this.#end} of a file of ${file.byteLength}`);
    this.#valuesLeft = Number(metadata.num_values);
    if (!(this.#valuesLeft >= 0 && this.#valuesLeft < 2 ** 53))
      throw new Error(`${this.#valuesLeft} values`);
  }

  /** The next rows. @throws */
  take(count: number): unknown[] {
    // A row that repeats goes on in the next page, until another one begins.
    const ahead = this.#levels.repetition > 0 ? 1 : 0;
    while (this.#rows.length - this.#taken < count + ahead && this.#valuesLeft > 0) {
      this.#rows.splice(0, this.#taken);
      this.#taken = 0;
      this.#readPage();
    }
    const rows = this.#rows.slice(this.#taken, this.#taken + count);
    if (rows.length < count) throw new Error('it is shorter than the others');
    this.#taken += count;
    return rows;
  }

  /** @throws when there are rows left */
  end(): void {
    if (this.#rows.length > this.#taken || this.#valuesLeft > 0)
      throw new Error('it is longer than the others');
  }

  #readPage(): void {
    const header = this.#readHeader();
    const [stored, size] = [header.compressed_page_size, header.uncompressed_page_size];
    if (!(stored >= 0 && size >= 0 && this.#at + stored <= this.#end))
      throw new Error(`a page of ${stored} bytes, ${size} when it is decompressed`);
    const bytes = new Uint8Array(this.file.slice(this.#at, this.#at + stored));
    this.#at += stored;
    if (header.crc !== undefined && crc32(bytes) !== header.crc >>> 0)
      throw new Error('the checksum of a page is wrong');
    const count =
      (header.data_page_header ?? header.data_page_header_v2 ?? header.dictionary_page_header)
        ?.num_values ?? 0;
    this.patience.begin(stored + size, count);
    if (header.type === 'DICTIONARY_PAGE') this.#readDictionary(header, bytes, count);
    else if (header.type === 'DATA_PAGE' || header.type === 'DATA_PAGE_V2') {
      if (!(count >= 0 && count <= this.#valuesLeft)) throw new Error(`a page of ${count} values`);
      this.#valuesLeft -= count;
      if (count > 0) this.#readValues(header, bytes, count);
    } else if (header.type !== 'INDEX_PAGE') throw new Error('a page of no known kind');
  }

  #readHeader(): PageHeader {
    this.patience.begin();
    for (let length = HEADER_BYTES; ; length *= 8) {
      const end = Math.min(this.#at + length, this.#end);
      if (end === this.#at) throw new Error('its pages end too early');
      const reader = { view: new DataView(this.file.slice(this.#at, end)), offset: 0 };
      try {
        const header = parquetHeader(reader);
        this.#at += reader.offset;
        return header;
      } catch (error) {
        if (end === this.#end || length >= LONGEST_HEADER) throw error;
      }
    }
  }

  #readDictionary(header: PageHeader, bytes: Uint8Array, count: number): void {
    const { type } = this.metadata;
    const page = decompressed(this.metadata.codec, bytes, header.uncompressed_page_size);
    const typeLength = this.#element.type_length ?? 0;
    checkValues({ page, at: 0, count, encoding: 'PLAIN', type, typeLength });
    // Each has a bit at least.
    if (count > 8 * page.length) throw new Error(`${count} values in ${page.length} bytes`);
    const reader = { view: new DataView(page.buffer), offset: 0 };
    this.#dictionary = this.#converted(readPlain(reader, type, count, typeLength));
  }

  #readValues(header: PageHeader, bytes: Uint8Array, count: number): void {
    const { page, at, encoding, repetitions, definitions } = header.data_page_header
      ? this.#firstVersion(header, bytes, count)
      : this.#secondVersion(header, bytes, count);
    let nulls = 0;
    for (const level of definitions) if (level < this.#levels.definition) nulls++;
    if (repetitions[0] && this.#rows.length === 0) throw new Error('it begins within a row');
    const values = this.#valuesOf(page, at, count - nulls, encoding);
    // A list goes on where the page before ended; other rows are within a page.
    const output = this.#levels.repetition > 0 ? this.#rows : [];
    const rows = assembleLists(output, definitions, repetitions, values, this.schemaPath);
    if (rows !== this.#rows) for (let i = 0; i < rows.length; i++) this.#rows.push(rows[i]);
  }

  #firstVersion(header: PageHeader, bytes: Uint8Array, count: number): OpenPage {
    const about = header.data_page_header!;
    const page = decompressed(this.metadata.codec, bytes, header.uncompressed_page_size);
    const view = new DataView(page.buffer);
    let at = 0;
    const levels = (most: number, encoding: string): number[] => {
      if (most === 0) return [];
      if (encoding !== 'RLE') throw new Error(`levels that are ${encoding}, which is not read`);
      const begin = at + 4;
      at = begin + view.getUint32(at, true);
      return readLevels(page, begin, at, most, count);
    };
    const repetitions = levels(this.#levels.repetition, about.repetition_level_encoding);
    const definitions = levels(this.#levels.definition, about.definition_level_encoding);
    return { page, at, encoding: about.encoding, repetitions, definitions };
  }

  #secondVersion(header: PageHeader, bytes: Uint8Array, count: number): OpenPage {
    const about = header.data_page_header_v2;
    if (about === undefined) throw new Error('a page without its header');
    const first = about.repetition_levels_byte_length;
    const both = first + about.definition_levels_byte_length;
    if (!(first >= 0 && both >= first && both <= bytes.length))
      throw new Error(`levels of ${both} bytes in a page of ${bytes.length}`);
    const { repetition, definition } = this.#levels;
    const repetitions = repetition > 0 ? readLevels(bytes, 0, first, repetition, count) : [];
    const definitions = definition > 0 ? readLevels(bytes, first, both, definition, count) : [];
    const rows = repetition > 0 ? repetitions.filter((level) => level === 0).length : count;
    if (rows !== about.num_rows)
      throw new Error(`a page of ${rows} rows that says ${about.num_rows}`);
    const size = header.uncompressed_page_size - both;
    const stored = bytes.slice(both);
    // Nothing at all may be stored of no values.
    const codec =
      about.is_compressed === false || size === 0 ? 'UNCOMPRESSED' : this.metadata.codec;
    const page = decompressed(codec, size === 0 ? new Uint8Array() : stored, size);
    return { page, at: 0, encoding: about.encoding, repetitions, definitions };
  }

  #valuesOf(page: Uint8Array, at: number, count: number, encoding: Encoding): DecodedArray {
    if (count === 0) return [];
    const { type } = this.metadata;
    checkValues({ page, at, count, encoding, type, typeLength: this.#element.type_length ?? 0 });
    const isIndex = encoding.endsWith('_DICTIONARY');
    const values =
      isIndex && page[at] === 0 ? new Uint8Array(count) : this.#read(page, at, count, encoding);
    if (!isIndex) return this.#converted(values);
    const dictionary = this.#dictionary;
    if (dictionary === undefined) throw new Error('a page whose dictionary is missing');
    for (let i = 0; i < values.length; i++)
      if (!(values[i] < dictionary.length))
        throw new Error(`value ${values[i]} of a dictionary of ${dictionary.length}`);
    return Array.from(values as ArrayLike<number>, (index) => dictionary[index]);
  }

  /** The values as the library reads those of a page that has no levels. */
  #read(page: Uint8Array, at: number, count: number, encoding: Encoding): DecodedArray {
    const bytes = page.subarray(at);
    const about = {
      num_values: count,
      num_nulls: 0,
      num_rows: count,
      encoding,
      definition_levels_byte_length: 0,
      repetition_levels_byte_length: 0,
      is_compressed: false,
    };
    const size = bytes.length;
    return readDataPageV2(
      bytes,
      {
        type: 'DATA_PAGE_V2',
        uncompressed_page_size: size,
        compressed_page_size: size,
        data_page_header_v2: about,
      },
      { ...this.#decoder(), schemaPath: [] },
    ).dataPage;
  }

  #converted(values: DecodedArray): DecodedArray {
    const own = ownConversion(this.#element);
    return own ? Array.from(values as ArrayLike<unknown>, own) : convert(values, this.#decoder());
  }

  #decoder(): ColumnDecoder {
    const { type, codec, path_in_schema: pathInSchema } = this.metadata;
    const { schemaPath } = this;
    return { pathInSchema, type, codec, element: this.#element, schemaPath, parsers };
  }
}

/** A page without its compression. */
interface OpenPage {
  readonly page: Uint8Array;
  /** Where its values begin. */
  readonly at: number;
  readonly encoding: Encoding;
  readonly repetitions: number[];
  readonly definitions: number[];
}

/** @throws where they are not `count` levels from 0 to `most` */
function readLevels(
  page: Uint8Array,
  begin: number,
  end: number,
  most: number,
  count: number,
): number[] {
  const width = bitWidthOf(most);
  checkRuns(page, begin, end, width, count);
  const levels: number[] = new Array(count);
  const view = new DataView(page.buffer, page.byteOffset, page.byteLength);
  readRleBitPackedHybrid({ view, offset: begin }, width, levels, end - begin);
  for (const level of levels) if (!(level <= most)) throw new Error(`a level of ${level}`);
  return levels;
}
