-- probe: there are users who can log in
-- needs: public.users
-- expect: at least 1
SELECT count(*) FROM public.users;
