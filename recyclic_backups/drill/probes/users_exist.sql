-- probe: there are users who can log in
-- needs: public.users(is_active, hashed_password)
-- expect: at least 1
SELECT count(*) FROM public.users WHERE is_active AND hashed_password IS NOT NULL;
