// What the receivers of this folder share: they listen on a free port, say which, and remember what they saw.

export function listen(app, dialect) {
  const seen = [];
  app.get('/seen', (req, res) => res.json(seen));
  // What goes wrong in a handler, and would otherwise be an HTML page.
  app.use((error, req, res, next) => {
    seen.push({ dialect, id: null, verified: false, duplicate: false, error: String(error) });
    res.status(error.status ?? 500).json({ error: String(error) });
  });
  const server = app.listen(0, '127.0.0.1', (error) => {
    if (error) throw error;
    console.log(`listening on 127.0.0.1:${server.address().port}`);
  });
  return {
    verified: (id) => seen.push({ dialect, id, verified: true, duplicate: false }),
    refused: () => seen.push({ dialect, id: null, verified: false, duplicate: false }),
  };
}
