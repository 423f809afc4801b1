//! The table of images: which are on this node. What an image is, the image store alone knows.

use crate::{State, StateError};

impl State {
    /// Remembers an image under its id, replacing what was there.
    ///
    /// # Errors
    /// [`StateError::Query`] when the disk is full or fails; the file is then as before.
    pub async fn put_image(&self, id: &str, image: String) -> Result<(), StateError> {
        let id = id.to_owned();
        self.worker
            .run("write an image", move |connection| {
                connection
                    .prepare_cached(
                        "insert into images (id, image) values (?1, ?2) on conflict (id) do update set image = ?2",
                    )?
                    .execute([&id, &image])?;
                Ok(())
            })
            .await
    }

    /// Forgets an image; `false` if it was not there.
    ///
    /// # Errors
    /// [`StateError::Query`] when the disk is full or fails; the file is then as before.
    pub async fn remove_image(&self, id: &str) -> Result<bool, StateError> {
        let id = id.to_owned();
        self.worker
            .run("remove an image", move |connection| {
                Ok(connection
                    .prepare_cached("delete from images where id = ?1")?
                    .execute([&id])?
                    > 0)
            })
            .await
    }

    /// The JSON of all images, by id.
    ///
    /// # Errors
    /// [`StateError::Query`] when the disk fails.
    pub async fn images(&self) -> Result<Vec<(String, String)>, StateError> {
        self.worker
            .run("read the images", |connection| {
                let mut statement = connection.prepare_cached("select id, image from images order by id")?;
                statement
                    .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                    .collect()
            })
            .await
    }
}
