-- Functions, views, rules, triggers, operators: what is code in a database.
CREATE SCHEMA code;
CREATE FUNCTION code.greet(who text DEFAULT 'it''s $1', VARIADIC more int[] DEFAULT '{}') RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE COST 7 AS $body$
    SELECT 'hello ' || who -- a comment; with '$$' and \ in it
$body$;
CREATE FUNCTION code.greet(int) RETURNS SETOF int LANGUAGE sql STABLE ROWS 3 LEAKPROOF STRICT SECURITY DEFINER SET search_path TO code, "a, b" SET work_mem TO '8MB' AS 'SELECT 1 UNION ALL SELECT $1';
CREATE FUNCTION code.atomic(n int, OUT a int, OUT b text) LANGUAGE sql BEGIN ATOMIC SELECT n + 1, 'x' || count(*) FROM zoo.hens WHERE id < n; END;
CREATE FUNCTION code.many() RETURNS TABLE (id int, "a name" text) LANGUAGE sql RETURN (1, 'x');
CREATE PROCEDURE code.do_it(INOUT n int) LANGUAGE plpgsql AS 'BEGIN n := n + 1; COMMIT; END';
-- Its body finds the table only where search_path has the schema: nothing that is computed during a restore may call it.
CREATE FUNCTION code.depends_on_path() RETURNS bigint LANGUAGE plpgsql STABLE AS 'BEGIN RETURN (SELECT count(*) FROM hens); END';
CREATE FUNCTION code.depends_on_path_sql() RETURNS bigint LANGUAGE sql STABLE SET check_function_bodies = off SET search_path = zoo AS 'SELECT count(*) FROM hens';
CREATE FUNCTION code.window_like() RETURNS bigint LANGUAGE internal WINDOW AS 'window_row_number';
CREATE AGGREGATE code.product(numeric) (SFUNC = numeric_mul, STYPE = numeric, INITCOND = '1', PARALLEL = SAFE);
CREATE AGGREGATE code.percentile(float8 ORDER BY anyelement) (SFUNC = ordered_set_transition, STYPE = internal, FINALFUNC = percentile_disc_final, FINALFUNC_EXTRA);
CREATE FUNCTION code.same(text, int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1 = $2::text';
CREATE FUNCTION code.same(int, text) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1::text = $2';
CREATE OPERATOR code.=== (LEFTARG = text, RIGHTARG = int, FUNCTION = code.same, COMMUTATOR = OPERATOR(code.===), RESTRICT = eqsel, JOIN = eqjoinsel);
CREATE OPERATOR code.=== (LEFTARG = int, RIGHTARG = text, FUNCTION = code.same, COMMUTATOR = OPERATOR(code.===));
CREATE OPERATOR FAMILY code.numbers USING btree;
CREATE OPERATOR CLASS code.backwards FOR TYPE int USING btree FAMILY code.numbers AS
    OPERATOR 1 >, OPERATOR 2 >=, OPERATOR 3 =, OPERATOR 4 <=, OPERATOR 5 <, FUNCTION 1 btint4cmp(int, int);
CREATE FUNCTION code.to_mood(int) RETURNS types.mood LANGUAGE sql IMMUTABLE AS $$ SELECT 'sad'::types.mood $$;
CREATE CAST (int AS types.mood) WITH FUNCTION code.to_mood(int) AS ASSIGNMENT;
CREATE CAST (types.mood AS int) WITH INOUT;
CREATE CONVERSION code.latin FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;
CREATE COLLATION code.plain FROM "C";
CREATE TABLE code.collated (t text COLLATE code.plain PRIMARY KEY);
INSERT INTO code.collated VALUES ('b'), ('B'), ('a');
CREATE TEXT SEARCH DICTIONARY code.simple_words (TEMPLATE = simple, STOPWORDS = english);
CREATE TEXT SEARCH CONFIGURATION code.words (COPY = simple);
ALTER TEXT SEARCH CONFIGURATION code.words ALTER MAPPING FOR asciiword, word WITH code.simple_words, simple;
CREATE TABLE code.found (t text, v tsvector GENERATED ALWAYS AS (to_tsvector('code.words', t)) STORED);
INSERT INTO code.found VALUES ('The quick brown fox');
CREATE INDEX ON code.found USING gin (v);
CREATE INDEX ON code.found USING brin (t) WITH (pages_per_range = 2);
CREATE FUNCTION code.handler() RETURNS language_handler LANGUAGE c AS '$libdir/plpgsql', 'plpgsql_call_handler';
CREATE TRUSTED LANGUAGE plagain HANDLER code.handler;

CREATE VIEW code.base AS SELECT id, egg, '100 %' AS "a ""b"" %", CASE WHEN egg = ANY ('{1,2}') THEN 'a'::varchar(3) END AS c FROM zoo.hens WHERE id IN (1, 2, 3);
CREATE VIEW code.above WITH (security_barrier, security_invoker) AS SELECT * FROM code.base WHERE c IN ('a', 'b') WITH LOCAL CHECK OPTION;
CREATE VIEW code.above_all AS WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 5) SELECT t.n, a.* FROM t LEFT JOIN code.above a ON a.id = t.n;
ALTER VIEW code.above ALTER COLUMN egg SET DEFAULT 3;
CREATE VIEW code.one AS SELECT 1 AS n;
CREATE VIEW code.other AS SELECT n FROM code.one;
CREATE OR REPLACE VIEW code.one AS SELECT n FROM (SELECT 2 AS n WHERE NOT EXISTS (SELECT FROM zoo.hens WHERE id < 0)) x;
CREATE VIEW code.grouped AS SELECT id, egg, count(*) FROM zoo.hens GROUP BY id;
CREATE MATERIALIZED VIEW code.kept AS SELECT * FROM code.above_all WITH DATA;
CREATE MATERIALIZED VIEW code.kept_of_kept AS SELECT count(*) AS n FROM code.kept;
CREATE UNIQUE INDEX ON code.kept_of_kept (n);
CREATE MATERIALIZED VIEW code.to_come AS SELECT * FROM code.kept WITH NO DATA;
CREATE MATERIALIZED VIEW code.of_to_come AS SELECT 1 AS one FROM code.to_come WITH NO DATA;
COMMENT ON VIEW code.base IS 'a view';
COMMENT ON COLUMN code.kept.n IS 'a column of a materialized view';

CREATE TABLE code.watched (id int PRIMARY KEY, t text);
INSERT INTO code.watched VALUES (1, 'one'), (2, 'two');
CREATE TABLE code.log (what text);
CREATE FUNCTION code.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO code.log VALUES (TG_NAME || coalesce(TG_ARGV[0], '')); RETURN NEW; END $$;
CREATE TRIGGER normal BEFORE INSERT OR UPDATE OF t ON code.watched FOR EACH ROW WHEN (NEW.t <> '%') EXECUTE FUNCTION code.note('it''s', '\x', '100 %');
CREATE TRIGGER disabled AFTER INSERT ON code.watched FOR EACH ROW EXECUTE FUNCTION code.note();
CREATE TRIGGER always AFTER UPDATE ON code.watched REFERENCING NEW TABLE AS news FOR EACH STATEMENT EXECUTE FUNCTION code.note();
CREATE TRIGGER replica AFTER DELETE ON code.watched FOR EACH ROW EXECUTE FUNCTION code.note();
CREATE CONSTRAINT TRIGGER later AFTER INSERT ON code.watched DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION code.note();
ALTER TABLE code.watched DISABLE TRIGGER disabled;
ALTER TABLE code.watched ENABLE ALWAYS TRIGGER always;
ALTER TABLE code.watched ENABLE REPLICA TRIGGER replica;
CREATE TRIGGER on_years AFTER INSERT ON zoo.years FOR EACH ROW EXECUTE FUNCTION code.note();
ALTER TABLE zoo.years_default DISABLE TRIGGER on_years;
CREATE TRIGGER instead INSTEAD OF INSERT ON code.base FOR EACH ROW EXECUTE FUNCTION code.note();
COMMENT ON TRIGGER normal ON code.watched IS 'a trigger';
CREATE RULE "log it" AS ON UPDATE TO code.watched WHERE NEW.id > 100 DO ALSO INSERT INTO code.log VALUES ('rule');
CREATE RULE never AS ON DELETE TO code.watched DO INSTEAD NOTHING;
ALTER TABLE code.watched DISABLE RULE never;

CREATE FUNCTION code.on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO code.log VALUES (TG_TAG); END $$;
CREATE EVENT TRIGGER "zoo's events" ON ddl_command_end WHEN TAG IN ('CREATE TABLE', 'DROP TABLE') EXECUTE FUNCTION code.on_ddl();
CREATE EVENT TRIGGER no_events ON sql_drop EXECUTE FUNCTION code.on_ddl();
ALTER EVENT TRIGGER no_events DISABLE;
COMMENT ON EVENT TRIGGER no_events IS 'an event trigger';
CREATE PUBLICATION everything FOR ALL TABLES WITH (publish = 'insert, delete', publish_via_partition_root = true);
CREATE PUBLICATION some_of_it FOR TABLE zoo.tree (id, twin) WHERE (id > 3);
CREATE PUBLICATION a_schema FOR TABLES IN SCHEMA types, TABLE zoo.hens WHERE (id > 1);
