--
-- PostgreSQL database dump
--

\restrict VIY7h2TcGnfWCQndDaATLxKi65U4V99n9t6fBqb8dqQCxkpshKVyNa0gVkSaHqM

-- Dumped from database version 15.18 (Debian 15.18-0+deb12u1)
-- Dumped by pg_dump version 15.18 (Debian 15.18-0+deb12u1)

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: audit; Type: SCHEMA; Schema: -; Owner: recyclic_app
--

CREATE SCHEMA audit;


ALTER SCHEMA audit OWNER TO recyclic_app;

--
-- Name: SCHEMA audit; Type: COMMENT; Schema: -; Owner: recyclic_app
--

COMMENT ON SCHEMA audit IS 'Journal des opérations : ajout seul, jamais de modification';


--
-- Name: code_postal; Type: DOMAIN; Schema: public; Owner: postgres
--

CREATE DOMAIN public.code_postal AS text
	CONSTRAINT code_postal_check CHECK ((VALUE ~ '^[0-9]{5}$'::text));


ALTER DOMAIN public.code_postal OWNER TO postgres;

--
-- Name: DOMAIN code_postal; Type: COMMENT; Schema: public; Owner: postgres
--

COMMENT ON DOMAIN public.code_postal IS 'Code postal français : cinq chiffres';


--
-- Name: destination; Type: TYPE; Schema: public; Owner: postgres
--

CREATE TYPE public.destination AS ENUM (
    'magasin',
    'recyclage',
    'déchetterie',
    'réparation'
);


ALTER TYPE public.destination OWNER TO postgres;

--
-- Name: payment_method; Type: TYPE; Schema: public; Owner: postgres
--

CREATE TYPE public.payment_method AS ENUM (
    'espèces',
    'carte',
    'chèque',
    'virement'
);


ALTER TYPE public.payment_method OWNER TO postgres;

--
-- Name: poids_kg; Type: DOMAIN; Schema: public; Owner: postgres
--

CREATE DOMAIN public.poids_kg AS numeric(10,3)
	CONSTRAINT poids_kg_check CHECK ((VALUE > (0)::numeric));


ALTER DOMAIN public.poids_kg OWNER TO postgres;

--
-- Name: sale_status; Type: TYPE; Schema: public; Owner: postgres
--

CREATE TYPE public.sale_status AS ENUM (
    'payée',
    'annulée',
    'remboursée'
);


ALTER TYPE public.sale_status OWNER TO postgres;

--
-- Name: session_status; Type: TYPE; Schema: public; Owner: postgres
--

CREATE TYPE public.session_status AS ENUM (
    'ouverte',
    'clôturée'
);


ALTER TYPE public.session_status OWNER TO postgres;

--
-- Name: user_role; Type: TYPE; Schema: public; Owner: postgres
--

CREATE TYPE public.user_role AS ENUM (
    'bénévole',
    'salarié',
    'administrateur'
);


ALTER TYPE public.user_role OWNER TO postgres;

--
-- Name: set_updated_at(); Type: FUNCTION; Schema: public; Owner: postgres
--

CREATE FUNCTION public.set_updated_at() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
  NEW.updated_at := now();
  RETURN NEW;
END
$$;


ALTER FUNCTION public.set_updated_at() OWNER TO postgres;

--
-- Name: FUNCTION set_updated_at(); Type: COMMENT; Schema: public; Owner: postgres
--

COMMENT ON FUNCTION public.set_updated_at() IS 'Met à jour la date de modification';


SET default_tablespace = '';

--
-- Name: events; Type: TABLE; Schema: audit; Owner: recyclic_app
--

CREATE TABLE audit.events (
    id bigint NOT NULL,
    occurred_at timestamp with time zone NOT NULL,
    actor_id uuid,
    action text NOT NULL,
    entity text NOT NULL,
    entity_id uuid,
    ip inet,
    payload jsonb NOT NULL
)
PARTITION BY RANGE (occurred_at);


ALTER TABLE audit.events OWNER TO recyclic_app;

--
-- Name: TABLE events; Type: COMMENT; Schema: audit; Owner: recyclic_app
--

COMMENT ON TABLE audit.events IS 'Un événement par opération ; une partition par année';


--
-- Name: events_id_seq; Type: SEQUENCE; Schema: audit; Owner: recyclic_app
--

CREATE SEQUENCE audit.events_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


ALTER TABLE audit.events_id_seq OWNER TO recyclic_app;

--
-- Name: events_id_seq; Type: SEQUENCE OWNED BY; Schema: audit; Owner: recyclic_app
--

ALTER SEQUENCE audit.events_id_seq OWNED BY audit.events.id;


SET default_table_access_method = heap;

--
-- Name: events_2024; Type: TABLE; Schema: audit; Owner: postgres
--

CREATE TABLE audit.events_2024 (
    id bigint DEFAULT nextval('audit.events_id_seq'::regclass) NOT NULL,
    occurred_at timestamp with time zone NOT NULL,
    actor_id uuid,
    action text NOT NULL,
    entity text NOT NULL,
    entity_id uuid,
    ip inet,
    payload jsonb NOT NULL
);


ALTER TABLE audit.events_2024 OWNER TO postgres;

--
-- Name: events_2025; Type: TABLE; Schema: audit; Owner: postgres
--

CREATE TABLE audit.events_2025 (
    id bigint DEFAULT nextval('audit.events_id_seq'::regclass) NOT NULL,
    occurred_at timestamp with time zone NOT NULL,
    actor_id uuid,
    action text NOT NULL,
    entity text NOT NULL,
    entity_id uuid,
    ip inet,
    payload jsonb NOT NULL
);


ALTER TABLE audit.events_2025 OWNER TO postgres;

--
-- Name: events_2026; Type: TABLE; Schema: audit; Owner: postgres
--

CREATE TABLE audit.events_2026 (
    id bigint DEFAULT nextval('audit.events_id_seq'::regclass) NOT NULL,
    occurred_at timestamp with time zone NOT NULL,
    actor_id uuid,
    action text NOT NULL,
    entity text NOT NULL,
    entity_id uuid,
    ip inet,
    payload jsonb NOT NULL
);


ALTER TABLE audit.events_2026 OWNER TO postgres;

--
-- Name: events_autres; Type: TABLE; Schema: audit; Owner: postgres
--

CREATE TABLE audit.events_autres (
    id bigint DEFAULT nextval('audit.events_id_seq'::regclass) NOT NULL,
    occurred_at timestamp with time zone NOT NULL,
    actor_id uuid,
    action text NOT NULL,
    entity text NOT NULL,
    entity_id uuid,
    ip inet,
    payload jsonb NOT NULL
);


ALTER TABLE audit.events_autres OWNER TO postgres;

--
-- Name: Prêts d'outils; Type: TABLE; Schema: public; Owner: postgres
--

CREATE TABLE public."Prêts d'outils" (
    user_id uuid NOT NULL,
    "prêté le" date NOT NULL,
    outil t