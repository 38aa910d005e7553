SET client_min_messages = warning;
-- Types and the values that are easily lost on the way through text.
CREATE SCHEMA types;
COMMENT ON SCHEMA types IS 'what a value can be';
CREATE DOMAIN types.percent AS numeric(5, 2) DEFAULT 50 NOT NULL CONSTRAINT "not too much" CHECK (VALUE BETWEEN 0 AND 100);
CREATE DOMAIN types.percents AS types.percent[] CHECK (cardinality(VALUE) < 9);
CREATE TYPE types.mood AS ENUM ('', 'sad', 'o''k', 'happy "very"', 'in, between');
ALTER TYPE types.mood ADD VALUE 'before sad' BEFORE 'sad';
CREATE TYPE types.place AS (street text, "the town" varchar(20) COLLATE "C", moods types.mood[]);
CREATE DOMAIN types.real_place AS types.place CHECK ((VALUE).street <> 'nowhere');
CREATE TYPE types.temperature AS RANGE (subtype = float8, subtype_diff = float8mi);
CREATE TYPE types.shell;
CREATE FUNCTION types.in_shell(cstring) RETURNS types.shell LANGUAGE internal IMMUTABLE STRICT AS 'textin';
CREATE FUNCTION types.out_shell(types.shell) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'textout';
CREATE TYPE types.shell (INPUT = types.in_shell, OUTPUT = types.out_shell, LIKE = text);
COMMENT ON TYPE types.mood IS 'how one feels';
COMMENT ON CONSTRAINT "not too much" ON DOMAIN types.percent IS 'never more than all';

CREATE TABLE types.numbers (n numeric, r real, d double precision, i smallint, b bigint, o oid, p types.percent);
INSERT INTO types.numbers VALUES
    ('NaN', 'NaN', 'NaN', -32768, -9223372036854775808, 4294967295, 0),
    ('Infinity', 'Infinity', '-Infinity', 32767, 9223372036854775807, 0, 100),
    (1.10, 0.1, 0.1, 0, 0, 1, 1), (1.1, 1e-45, 5e-324, 0, 0, 1, 1), (-0.000, '-0', '-0', 0, 0, 1, 1),
    (('1' || repeat('0', 2000) || '.' || repeat('7', 2000))::numeric, 3.4028235e38, 1.7976931348623157e308, 1, 1, 1, 1);
CREATE TABLE types.times (d date, t time, tz timetz, ts timestamp, tstz timestamptz, i interval);
INSERT INTO types.times VALUES
    ('infinity', '24:00', '12:00+05:30', '-infinity', 'infinity', '1 year -2 mons +3 days -04:05:06.789'),
    ('4713-01-01 BC', '00:00:00.000001', '00:00-15:59:59', '0044-03-15 12:00 BC', '0044-03-15 12:00+00 BC', '-1 year'),
    ('5874897-12-31', '23:59:59.999999', '00:00+15:59', '294276-12-31', '1883-11-18 12:03:57-04:56:02', '178000000 years');
CREATE TABLE types.texts (t text, v varchar(5), c char(5), n name, q "char", b bytea, bits bit(3), vb bit varying);
INSERT INTO types.texts VALUES
    (E'tab\t newline\n return\r backslash\\ quote'' "double" \\. \\N', '     ', 'a ', 'ñ', '\377', '\x00ff5c0a', B'101', B''),
    ('\N', '', '', '', '', '', B'000', B'11111111111111111'), ('\.', NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    (repeat('long enough for TOAST ', 100000), E'\u20ac', E'\U0001F600', 'x', 'x', decode(repeat('00', 300000), 'hex'), NULL, NULL);
CREATE TABLE types.documents (j json, b jsonb, path jsonpath, vector tsvector, query tsquery, id uuid, money money);
INSERT INTO types.documents VALUES
    ('{"a": 1,   "a": 2, "z": null}', '{"a": 1e400, "é": "\u00e9\\"}', '$.a[*] ? (@ > 1)', 'a:1A,2B fat ''it''''s'':3', 'fat & (rat | !cat) <2> x:*A',
     'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 1234567.89),
    ('null', 'null', '$', '', '', NULL, -92233720368547758.08);
CREATE TABLE types.shapes (p point, l line, s lseg, b box, pa path, po polygon, c circle, net inet, block cidr, mac macaddr8, lsn pg_lsn, tid tid);
INSERT INTO types.shapes VALUES
    ('(Infinity,NaN)', '{1,-1,0.1}', '[(0,0),(1,1)]', '((1,1),(0,0))', '[(0,0),(1,0.1)]', '((0,0),(1,0),(1,1))', '<(0,0),0.1>',
     '::ffff:1.2.3.4/96', '10.0.0.0/8', '08:00:2b:01:02:03:04:05', 'FFFFFFFF/FFFFFFFF', '(4294967295,65535)');
CREATE TABLE types.nested (
    ints int[][], texts text[], places types.place[], place types.real_place, shares types.percents, moods types.mood[],
    r int4range, rs int4multirange, temperatures types.temperature, many types.temperature_multirange, times tstzrange[], shell types.shell
);
INSERT INTO types.nested VALUES
    ('[0:1][5:6]={{1,2},{3,NULL}}', ARRAY['', NULL, 'NULL', 'a"b', 'c\d', '{}', ','], ARRAY[ROW('a, (b)', NULL, '{"",sad}'), NULL]::types.place[],
     ROW('', '"', NULL), '{1,2.5}', '{"happy \"very\"","in, between"}', 'empty', '{[1,3),(5,)}', '[-Infinity,NaN]', '{[1,2)}', '{"[2026-01-01,)",empty}', 'x'),
    ('{}', '{}', NULL, NULL, '{}', '{}', '(,)', '{}', 'empty', '{}', '{}', '');
CREATE TABLE types.defaults (
    a text DEFAULT E'it''s \\ 100 % $1 {} \n', b timestamptz DEFAULT '2026-01-01 00:00+00', c money DEFAULT 12.34::money,
    d types.place DEFAULT ROW('x', 'y', '{}')::types.place, e int[] DEFAULT '{}', f interval DEFAULT '1 mon', g text DEFAULT current_user,
    CHECK (a IN ('a', 'b') OR a LIKE '%' OR a ~ '\d{1,3}$'), CHECK (cardinality(e) <> ALL (ARRAY[1, 2]::int[]))
);
INSERT INTO types.defaults (g) VALUES ('x');
CREATE TYPE types.documented AS (inner_one types.place, "a ""b""" int);
COMMENT ON COLUMN types.documented."a ""b""" IS 'an attribute';
