-- probe: every weighed line is of a category
-- needs: public.ligne_depot(id, category_id), public.categories(id)
-- expect: no rows
SELECT line.id FROM public.ligne_depot line
WHERE NOT EXISTS (SELECT FROM public.categories category WHERE category.id = line.category_id) LIMIT 1;
