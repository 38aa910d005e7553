-- probe: every permission that was given belongs to a group
-- needs: public.group_permissions(group_id, permission_id), public.groups(id), public.permissions(id)
-- expect: no rows
SELECT given.group_id, given.permission_id FROM public.group_permissions given
WHERE NOT EXISTS (SELECT FROM public.groups team WHERE team.id = given.group_id)
   OR NOT EXISTS (SELECT FROM public.permissions allowed WHERE allowed.id = given.permission_id) LIMIT 1;
