-- probe: the till has a category to sell in
-- needs: public.categories(is_active)
-- expect: at least 1
SELECT count(*) FROM public.categories WHERE is_active;
