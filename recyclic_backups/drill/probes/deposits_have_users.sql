-- probe: every deposit was made by a user
-- needs: public.deposits(id, user_id), public.users(id)
-- expect: no rows
SELECT deposit.id FROM public.deposits deposit
WHERE NOT EXISTS (SELECT FROM public.users account WHERE account.id = deposit.user_id) LIMIT 1;
