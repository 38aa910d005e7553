-- probe: the newest cash session, if there is any yet, is from the weeks before the backup
-- needs: public.cash_sessions(opened_at)
-- expect: younger than 60 days
SELECT coalesce(max(opened_at), now()) FROM public.cash_sessions;
