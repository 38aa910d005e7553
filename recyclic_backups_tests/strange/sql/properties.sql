-- What belongs to the database itself and not to its contents.
COMMENT ON DATABASE zoo IS E'a zoo; it''s \\ "quoted", 100 % $1\nsecond line';
ALTER DATABASE zoo OWNER TO zoo_owner;
ALTER DATABASE zoo SET search_path TO "$user", public, "a, ""b""";
ALTER DATABASE zoo SET zoo.odd_setting TO 'it''s \ 100 %';
ALTER DATABASE zoo SET timezone TO 'Asia/Kathmandu';
ALTER DATABASE zoo SET DateStyle TO 'SQL, DMY';
ALTER DATABASE zoo SET default_transaction_read_only TO on;
ALTER DATABASE zoo SET client_encoding TO 'LATIN1';
ALTER DATABASE zoo SET array_nulls TO off;
ALTER ROLE zoo_owner IN DATABASE zoo SET IntervalStyle TO 'iso_8601';
REVOKE ALL ON DATABASE zoo FROM PUBLIC;
GRANT CONNECT ON DATABASE zoo TO zoo_keepers WITH GRANT OPTION;
GRANT TEMPORARY ON DATABASE zoo TO "Zoo ""Visitor"", 100 %";
