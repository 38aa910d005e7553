-- The roles of the zoo: an owner without superuser, groups, members, a name that needs quotes.
CREATE ROLE zoo_owner LOGIN CREATEDB PASSWORD 'zoo-secret';
CREATE ROLE zoo_keepers NOINHERIT;
CREATE ROLE "Zoo ""Visitor"", 100 %" CONNECTION LIMIT 3 VALID UNTIL '2040-01-01 00:00+00';
CREATE ROLE zoo_grantor;
GRANT zoo_keepers TO "Zoo ""Visitor"", 100 %" WITH ADMIN OPTION;
GRANT zoo_keepers TO zoo_owner;
ALTER ROLE zoo_keepers SET search_path TO "$user", public, "a, b";
COMMENT ON ROLE zoo_keepers IS 'they have the keys; ''all'' of them \ $recyclic$';
