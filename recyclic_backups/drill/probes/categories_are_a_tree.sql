-- probe: every category's parent exists
-- needs: public.categories(id, parent_id)
-- expect: no rows
SELECT category.id FROM public.categories category
WHERE category.parent_id IS NOT NULL
  AND NOT EXISTS (SELECT FROM public.categories parent WHERE parent.id = category.parent_id) LIMIT 1;
